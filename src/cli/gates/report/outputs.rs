//! Where reports go.
//!
//! Duty: `--format` and `--out` in the order of the command line, and files that take reports. Guarantee: a file that cannot be
//! written is found out before spans are judged; until a report is whole, the last one stands at its path. Left to others: what
//! a report says (the parent).

use std::fs::{File, Metadata};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Format, Report};
use crate::cli::exit::{Exit, Failure};
use crate::cli::lines::is_read;

/// `--format` and `--out`, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct Outputs(pub(super) Vec<(Format, Option<PathBuf>)>);

impl clap::FromArgMatches for Outputs {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let at = |name: &str| matches.indices_of(name).into_iter().flatten();
        let formats = matches.get_many::<Format>("format").into_iter().flatten().copied();
        let mut outputs: Vec<(usize, Format, Option<PathBuf>)> =
            at("format").zip(formats).map(|(at, format)| (at, format, None)).collect();
        let outs = matches.get_many::<PathBuf>("out").into_iter().flatten().cloned();
        for (at, out) in at("out").zip(outs) {
            if outputs.is_empty() {
                outputs.push((0, Format::Text, None));
            }
            let before = outputs.iter().rposition(|(format, ..)| *format < at).unwrap_or(0);
            if outputs[before].2.replace(out).is_some() {
                let text = "a format has two `--out`; write `--format F --out FILE` for each file";
                return Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{text}\n")));
            }
        }
        if outputs.is_empty() {
            outputs.push((0, Format::Text, None));
        }
        let on_stdout: Vec<Format> = outputs.iter().filter(|(.., out)| out.is_none()).map(|(_, of, _)| *of).collect();
        // A log shows both of these line by line; every other format is read as a whole.
        let are_lines = on_stdout.iter().all(|format| matches!(format, Format::Text | Format::Github));
        if on_stdout.len() > 1 && !are_lines {
            let text = "two formats would be mixed on stdout; give one of them a file: `--format junit --out FILE`";
            return Err(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{text}\n")));
        }
        Ok(Self(outputs.into_iter().map(|(_, format, out)| (format, out)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Outputs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let format = clap::Arg::new("format")
            .long("format")
            .value_name("FORMAT")
            .value_parser(clap::value_parser!(Format))
            .action(clap::ArgAction::Append)
            .help("Format of the report, text by default; repeatable, each may have a file of its own");
        let out = clap::Arg::new("out")
            .long("out")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .action(clap::ArgAction::Append)
            .help("File for the format named before it, instead of stdout");
        command.arg(format).arg(out)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// Places that take reports.
#[derive(Debug)]
pub struct Open(Vec<(Format, Option<Out>)>);

/// A file that takes a report.
#[derive(Debug)]
struct Out {
    /// As it was given.
    path: PathBuf,
    file: File,
    /// The new report lies here, and goes to the second path once it is whole; `None` = `file` is that of `path` itself.
    beside: Option<(PathBuf, PathBuf)>,
}

impl Outputs {
    /// Opens the files, before anything is judged.
    ///
    /// Errors: one cannot be written (74).
    pub fn open(&self) -> anyhow::Result<Open> {
        let opened = self.0.iter().map(|(format, out)| Ok((*format, out.as_deref().map(Out::open).transpose()?)));
        opened.collect::<anyhow::Result<_>>().map(Open)
    }
}

impl Open {
    /// Writes `report` to all of them.
    ///
    /// Errors: one cannot be written (74).
    pub fn write(&mut self, report: &Report) -> anyhow::Result<()> {
        for (format, out) in &mut self.0 {
            let text = report.render(*format);
            match out {
                // Nobody may read it; the exit code says it all the same.
                None => drop(is_read(std::io::stdout().lock().write_all(text.as_bytes()))?),
                Some(out) => out.write(&text).map_err(|error| failed(&out.path, &error))?,
            }
        }
        Ok(())
    }
}

impl Out {
    fn open(path: &Path) -> Result<Self, Failure> {
        let there = std::fs::metadata(path).ok();
        // Devices and pipes, and files in folders that take no new ones, are written in place.
        let is_replaced = match &there {
            Some(there) => there.is_file(),
            // So is what a link leads to that is not there yet.
            None => path.symlink_metadata().is_err(),
        };
        if is_replaced && let Some(out) = Self::beside(path, there.as_ref()) {
            return Ok(out);
        }
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| {
            Failure::new(Exit::Io, format!("cannot write {}: {error}; make its folder first", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), file, beside: None })
    }

    fn beside(path: &Path, there: Option<&Metadata>) -> Option<Self> {
        // What a link leads to is replaced, not the link.
        let target = match there {
            Some(_) => path.canonicalize().ok()?,
            None => path.to_owned(),
        };
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name()?);
        name.push(format!(".{}.new", std::process::id()));
        let new = target.with_file_name(name);
        let file = File::create(&new).ok()?;
        let out = Self { path: path.to_owned(), file, beside: Some((new, target)) };
        if let Some(there) = there {
            // Who may read the last one may read this one; who may not write to it may not replace it.
            File::options().write(true).open(&out.path).ok()?;
            out.file.set_permissions(there.permissions()).ok()?;
        }
        Some(out)
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        if self.beside.is_none() && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(text.as_bytes())?;
        if self.file.metadata()?.is_file() {
            self.file.sync_all()?;
        }
        match self.beside.take() {
            None => Ok(()),
            // A file that is mounted by itself cannot be replaced.
            Some((new, target)) => std::fs::rename(&new, &target).or_else(|_| {
                drop(std::fs::remove_file(&new));
                std::fs::write(&target, text)
            }),
        }
    }
}

impl Drop for Out {
    /// A run that ends without a report leaves nothing.
    fn drop(&mut self) {
        if let Some((new, _)) = &self.beside {
            drop(std::fs::remove_file(new));
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_stands_until_the_next_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.txt");
        std::fs::write(&path, "the last").unwrap();
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let out = Out::open(&path).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names().len()), ("the last", 2));
        drop(out);
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names().len()), ("the last", 1));
        Out::open(&path).unwrap().write("the next").unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names().len()), ("the next", 1));
        let fresh = dir.path().join("fresh.txt");
        drop(Out::open(&fresh).unwrap());
        assert_eq!(names(), ["report.txt"], "no empty report");
        assert!(Out::open(&dir.path().join("none/report.txt")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_is_no_file_is_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "long before").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        Out::open(&link).unwrap().write("now").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "now");
        Out::open(Path::new("/dev/null")).unwrap().write("nobody reads it").unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }
}
