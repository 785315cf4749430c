//! Claims about SQL over views made of memory, parts, or both.

mod as_of;
mod attributes;
mod canonical;
mod catalog;
mod docs;
mod fetched;
pub(crate) mod fixture;
mod functions;
mod fuzz;
mod levels;
mod lookups;
pub(crate) mod mutate;
mod plans;
mod relations;
mod skip;
mod table_functions;

/// Statements that must be refused on every surface.
pub(crate) fn hostile() -> Vec<String> {
    let lines = include_str!("../gateway/hostile.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with("## ")).map(|line| line.replace("\\n", "\n")).collect()
}
