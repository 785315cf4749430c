//! The section `storage` (storage.md 16).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::place::Place;
use super::retain::Limits;
use crate::yaml::{Section, Size};

/// What a success answer promises (storage.md 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Survives kill -9 and power loss.
    #[default]
    Fsync,
    /// Survives kill -9; up to 1 s is lost with the power.
    Os,
    /// Survives neither; there is no log.
    Memory,
}

impl Durability {
    /// The word in configuration and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
            Self::Memory => "memory",
        }
    }
}

/// What to do when the log is corrupt (not merely torn at its end).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnCorruption {
    /// Move the bad region aside, go on, degrade health.
    #[default]
    Quarantine,
    /// Do not start.
    Refuse,
}

/// What is read back of a part before it is named (storage.md 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum VerifyWrites {
    /// The blocks of its footer.
    #[default]
    Footer,
    /// One page of every column as well, decoded.
    Pages,
}

/// What becomes of a statement that meets a damaged part (storage.md 12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnCorruptPart {
    /// It ends with an error.
    #[default]
    Error,
    /// It goes on without the rest of the part, and its answer is incomplete.
    Skip,
}

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder.
    pub path: PathBuf,
    /// `object_store`
    pub place: Place,
    /// `durability`
    pub durability: Durability,
    /// `wal.segment_bytes`
    pub segment_bytes: u64,
    /// `wal.max_bytes`: more unflushed log than this refuses appends.
    pub wal_max_bytes: u64,
    /// `wal.group_commit_delay`, 0 to 5 ms.
    pub group_commit_delay: Duration,
    /// `wal.compress`: lz4 for identity bodies above 4 KiB.
    pub wal_compress: bool,
    /// `wal.on_corruption`
    pub on_corruption: OnCorruption,
    /// `memtable.flush_bytes`
    pub flush_bytes: u64,
    /// `memtable.flush_after`, counted from the first row of a generation.
    pub flush_after: Duration,
    /// `memtable.max_frozen`: more generations than this refuse appends.
    pub max_frozen: usize,
    /// `dedupe.window`
    pub dedupe_window: Duration,
    /// `compaction.target_bytes`: size of a compacted part, about.
    pub compaction_target_bytes: u64,
    /// `parquet.zstd_level`
    pub zstd_level: i32,
    /// `parquet.row_group_rows`
    pub row_group_rows: usize,
    /// `parquet.bloom_fpp`
    pub bloom_fpp: f64,
    /// `promote.always`: keys.
    pub promote_always: Vec<String>,
    /// `promote.never`: keys.
    pub promote_never: Vec<String>,
    /// `retention.max_age`; `None` = for ever.
    pub max_age: Option<Duration>,
    /// `retention.max_bytes`: parts beyond it leave; `None` = any.
    pub max_bytes: Option<u64>,
    /// `retention.on_disk_full: delete_oldest`: oldest hours leave before appends are refused.
    pub delete_oldest: bool,
    /// `verify_writes`
    pub verify_writes: VerifyWrites,
    /// `on_corrupt_part`
    pub on_corrupt_part: OnCorruptPart,
    /// `retention.min_free_bytes`; `None` = the larger of 1 GiB and 2 % of the file system.
    pub min_free_bytes: Option<u64>,
    /// The upkeep does nothing on its own: a test takes its steps.
    #[cfg(test)]
    pub by_hand: bool,
}

impl Config {
    /// The defaults, for the data folder `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            place: Place::Folder,
            durability: Durability::Fsync,
            segment_bytes: 64 << 20,
            wal_max_bytes: 4 << 30,
            group_commit_delay: Duration::from_millis(2),
            wal_compress: false,
            on_corruption: OnCorruption::Quarantine,
            flush_bytes: 128 << 20,
            flush_after: Duration::from_secs(30),
            max_frozen: 4,
            dedupe_window: Duration::from_secs(600),
            compaction_target_bytes: 256 << 20,
            zstd_level: 1,
            row_group_rows: 131_072,
            bloom_fpp: 0.01,
            promote_always: Vec::new(),
            promote_never: Vec::new(),
            max_age: Some(Duration::from_secs(14 * 86_400)),
            max_bytes: None,
            delete_oldest: false,
            verify_writes: VerifyWrites::Footer,
            on_corrupt_part: OnCorruptPart::Error,
            min_free_bytes: None,
            #[cfg(test)]
            by_hand: false,
        }
    }

    /// What retention keeps.
    pub fn limits(&self) -> Limits {
        Limits { max_age: self.max_age, max_bytes: self.max_bytes }
    }
}

impl Config {
    /// Reads the section; `data` is the data folder where `path` does not name one.
    pub fn read(section: &Section<'_>, data: &Path) -> Self {
        let path = section.text("path").filter(|path| {
            if path.is_empty() {
                section.check("path", "must not be empty");
            }
            !path.is_empty()
        });
        let default = Self::at(path.map_or_else(|| data.to_owned(), PathBuf::from));
        let modes = [("fsync", Durability::Fsync), ("os", Durability::Os), ("memory", Durability::Memory)];
        let durability = section.choice("durability", &modes).unwrap_or(default.durability);
        let verified = [("footer", VerifyWrites::Footer), ("pages", VerifyWrites::Pages)];
        let corrupt = [("error", OnCorruptPart::Error), ("skip", OnCorruptPart::Skip)];
        let config = Self {
            place: Place::read(section),
            durability,
            verify_writes: section.choice("verify_writes", &verified).unwrap_or(default.verify_writes),
            on_corrupt_part: section.choice("on_corrupt_part", &corrupt).unwrap_or(default.on_corrupt_part),
            ..default
        };
        let config = config.with_log(&section.block("wal"), &section.block("memtable"));
        config.with_parts(section)
    }

    fn with_log(self, wal: &Section<'_>, memtable: &Section<'_>) -> Self {
        let delay = wal.duration("group_commit_delay").unwrap_or(self.group_commit_delay);
        if delay > Duration::from_millis(5) {
            wal.check("group_commit_delay", "must be from 0 to 5ms");
        }
        let segment_bytes = wal.size("segment_bytes").unwrap_or(self.segment_bytes);
        if !((1 << 20)..=(1 << 30)).contains(&segment_bytes) {
            wal.check("segment_bytes", "must be from 1MiB to 1GiB");
        }
        let wal_max_bytes = wal.size("max_bytes").unwrap_or(self.wal_max_bytes);
        if wal_max_bytes < segment_bytes.saturating_mul(2) {
            wal.check("max_bytes", "must be at least twice segment_bytes");
        }
        let flush_bytes = memtable.size("flush_bytes").unwrap_or(self.flush_bytes);
        if flush_bytes < 1 << 20 {
            memtable.check("flush_bytes", "must be at least 1MiB");
        }
        let flush_after = memtable.duration("flush_after").unwrap_or(self.flush_after);
        if flush_after.is_zero() {
            memtable.check("flush_after", "must be above 0");
        }
        let corruption = [("quarantine", OnCorruption::Quarantine), ("refuse", OnCorruption::Refuse)];
        let frozen = memtable.number("max_frozen", 1..=64).and_then(|n| usize::try_from(n).ok());
        Self {
            segment_bytes,
            wal_max_bytes,
            group_commit_delay: delay,
            wal_compress: wal.choice("compress", &[("none", false), ("lz4", true)]).unwrap_or(self.wal_compress),
            on_corruption: wal.choice("on_corruption", &corruption).unwrap_or(self.on_corruption),
            flush_bytes,
            flush_after,
            max_frozen: frozen.unwrap_or(self.max_frozen),
            ..self
        }
    }

    fn with_parts(self, section: &Section<'_>) -> Self {
        let (parquet, promote, retention) =
            (section.block("parquet"), section.block("promote"), section.block("retention"));
        let target = section.block("compaction").size("target_bytes").unwrap_or(self.compaction_target_bytes);
        if !((16 << 20)..=(1 << 30)).contains(&target) {
            section.block("compaction").check("target_bytes", "must be from 16MiB to 1GiB");
        }
        let level = parquet.number("zstd_level", 1..=22).and_then(|level| i32::try_from(level).ok());
        let rows = parquet.number("row_group_rows", 1024..=1 << 24).and_then(|rows| usize::try_from(rows).ok());
        let bloom_fpp = parquet.float("bloom_fpp").unwrap_or(self.bloom_fpp);
        if !(bloom_fpp > 0.0 && bloom_fpp < 1.0) {
            parquet.check("bloom_fpp", "must be above 0 and below 1");
        }
        let max_age = retention.duration("max_age").or(self.max_age);
        if max_age.is_some_and(|age| age < Duration::from_secs(3600)) {
            retention.check("max_age", "must be at least 1h: whole hours leave");
        }
        let full = [("refuse", false), ("delete_oldest", true)];
        let delete_oldest = retention.choice("on_disk_full", &full).unwrap_or(self.delete_oldest);
        if delete_oldest && matches!(self.place, Place::Bucket(_)) {
            let text = "`delete_oldest` makes no room on the disk: the parts are in a bucket";
            retention.check_with_help("on_disk_full", text, "bound the bucket with `max_bytes`");
        }
        let min_free_bytes = retention.size_or_percent("min_free_bytes").and_then(|size| match size {
            Size::Bytes(bytes) => Some(bytes),
            Size::Percent(_) => file_system_bytes(&self.path).map(|whole| size.of(whole)),
        });
        Self {
            dedupe_window: section.block("dedupe").duration("window").unwrap_or(self.dedupe_window),
            compaction_target_bytes: target,
            zstd_level: level.unwrap_or(self.zstd_level),
            row_group_rows: rows.unwrap_or(self.row_group_rows),
            bloom_fpp,
            promote_always: promote.texts("always").unwrap_or(self.promote_always),
            promote_never: promote.texts("never").unwrap_or(self.promote_never),
            max_age,
            max_bytes: retention.size("max_bytes").or(self.max_bytes),
            delete_oldest,
            min_free_bytes,
            ..self
        }
    }
}

/// Size of the file system that holds `path`, or will; `None` if the kernel does not tell.
fn file_system_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or_else(|| Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let facts = rustix::fs::statvfs(there).ok()?;
    Some(facts.f_blocks.saturating_mul(facts.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Mark, Problems, parse};

    #[test]
    fn deleting_the_oldest_hours_for_want_of_room_is_refused_where_the_parts_are_in_a_bucket() {
        for (url, refused) in [("s3://spans", true), ("file:///var/parts", false)] {
            let text = format!("object_store: {{url: '{url}'}}\nretention: {{on_disk_full: delete_oldest}}");
            let tree = parse(&text, &Mark::of_source(0, "c.yaml")).unwrap();
            let problems = Problems::new();
            let root = Section::root(&tree, &problems);
            let config = Config::read(&root, Path::new("data"));
            drop(root);
            let told: Vec<String> = problems.into_sorted().into_iter().map(|problem| problem.text).collect();
            assert!(config.delete_oldest, "{url}");
            assert_eq!(told.iter().any(|text| text.contains("makes no room")), refused, "{url}: {told:?}");
        }
    }
}
