//! The located YAML tree and the typed readers over it.
//!
//! Duty: text to [`Node`]s that know their file, line and column (rules C3 to C6 of collector_config.md), and
//! [`Section`], by which each module reads its own part of the tree (D1 to D5, D9). Guarantee: no problem is lost, none
//! stops the reading of the rest, and every one names its place; no input panics or grows without bound. Left to others:
//! where texts come from, what must refer to what, and how problems are printed (`config`).

mod duration;
mod endpoint;
mod merge;
mod node;
mod parse;
mod problem;
mod scalar;
mod section;
mod size;
mod suggest;
mod write;

pub use endpoint::{Endpoint, InvalidEndpoint};
pub use merge::{expand_paths, merge, set};
pub use node::{Entry, Map, Mark, Node, Value};
pub use parse::{Fault, FaultKind, parse, parse_documents, parse_strict};
pub use problem::{Code, Problem, Problems};
pub use section::Section;
pub use size::Size;
pub use suggest::nearest;
pub use write::text;
