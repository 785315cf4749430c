//! Sections of ours that no other module owns, and checks over several sections.
//!
//! Duty: `memory`, `queries`, `service::weavergen`, the refusal of sections not built yet, and the rule that no listener
//! beyond loopback starts open by accident (collector_config.md 4, `access`). Left to others: all other sections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::access::{self, Role};
use crate::budget::{Budget, available_memory};
use crate::yaml::{Code, Endpoint, Problem, Problems, Section, Size};

/// `service::weavergen`
pub(super) struct Service {
    pub(super) shutdown_timeout: Duration,
    pub(super) queue_dir: PathBuf,
}

pub(super) fn service(section: &Section<'_>, data: &Path) -> Service {
    let shutdown_timeout = section.duration("shutdown_timeout").unwrap_or(Duration::from_secs(30));
    if shutdown_timeout.is_zero() {
        section.check("shutdown_timeout", "must be above 0");
    }
    let queue_dir = section.text("queue_dir").map_or_else(|| data.join("queues"), PathBuf::from);
    Service { shutdown_timeout, queue_dir }
}

/// `memory::limit` in bytes.
pub(super) fn memory_limit(section: &Section<'_>) -> u64 {
    let Some(size) = section.size_or_percent("limit") else { return Budget::detect().limit_bytes() };
    let bytes = size.of(available_memory());
    let budget = match size {
        Size::Bytes(_) => Budget::try_configured(bytes),
        // As without a word about it, which is 75 %.
        Size::Percent(_) => Budget::try_new(bytes),
    };
    if let Err(error) = budget {
        section.check("limit", error.to_string());
    }
    bytes
}

/// `queries::dir`; by default `./queries` where it exists.
pub(super) fn queries_dir(section: &Section<'_>) -> Option<PathBuf> {
    section.text("dir").map(PathBuf::from).or_else(self::queries_dir_by_default)
}

/// `./queries` where it exists: what `queries::dir` is if nothing is said.
pub fn queries_dir_by_default() -> Option<PathBuf> {
    Some(PathBuf::from("./queries")).filter(|dir| dir.is_dir())
}

/// `./pipelines` where it exists: what `engine::dir` is if nothing is said.
pub fn pipelines_dir() -> Option<PathBuf> {
    Some(PathBuf::from("./pipelines")).filter(|dir| dir.is_dir())
}

/// Refuses the sections whose modules are not built.
pub(super) fn not_built(root: &Section<'_>) {
    for key in ["generate"] {
        if root.is_set(key) {
            root.warn(key, Code::NotSupported, "is not supported by weavergen yet");
        }
    }
}

/// A listener of the API or of PostgreSQL's clients beyond loopback needs tokens or a word about anonymous callers.
///
/// `path` leads from `root` to `endpoint`.
pub(super) fn check_listener(
    root: &Section<'_>,
    path: &[&'static str],
    endpoint: &str,
    access: &access::Config,
    problems: &Problems,
) {
    let Ok(parsed) = endpoint.parse::<Endpoint>() else { return };
    if parsed.is_loopback() {
        return;
    }
    let (setting, port) = (path.join("."), parsed.port());
    let ways = format!(
        "give callers tokens with `--set access.tokens_file=PATH`, or allow reading without one with `--set \
         access.anonymous=viewer`; or stay on loopback with `--set {setting}=localhost:{port}`"
    );
    let (code, text, help) = match (access.anonymous, &access.tokens_file) {
        (Some(Some(Role::Admin)), _) => {
            (Code::Check, format!("everyone who reaches {endpoint} would be admin (access::anonymous)"), Some(ways))
        }
        (None, None) => {
            (Code::Check, format!("other machines reach {endpoint} and nothing says who may call"), Some(ways))
        }
        _ => (Code::PlainText, format!("takes plain text, tokens included, from other machines on {endpoint}"), None),
    };
    let node = path.split_first().and_then(|(&first, rest)| root.node(first)?.at(rest));
    let mark = node.map_or_else(|| root.mark().clone(), |node| node.mark.clone());
    problems.add(Problem { code, path: path.join("::"), text, mark, help });
}
