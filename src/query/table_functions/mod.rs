//! Functions that give rows (sql.md 5.3). ★ add one here and to [`FUNCTIONS`], and its text to `query::docs`.
//!
//! Duty: the table functions of a session. Guarantee: each reads `spans` as the statement that calls it does, at most
//! `forest::MAX_SPANS` of them where it builds trees, and makes none of its rows while it is planned. Left to others:
//! the algorithms (`forest`), which arguments may stand in a statement at all (`calls`, by `guard`).

mod arguments;
pub mod calls;
mod columns;
mod compare;
mod computed;
mod diff;
mod gather;
mod graph;
mod paths;
mod series;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::Result;

use self::arguments::Call;
pub use self::computed::Computed;
pub use self::graph::service_graph_of_the_last_hour;

/// Makes the table of a call; the duration is `query.trace_window`.
type Make = fn(&Call<'_>, Duration) -> Result<Arc<dyn TableProvider>>;

/// A table function.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub usage: &'static str,
    make: Make,
}

const fn function(name: &'static str, usage: &'static str, make: Make) -> Function {
    Function { name, usage, make }
}

/// All of them, by name.
pub const FUNCTIONS: [Function; 9] = [
    function("ancestors", "ancestors(trace, span)", tree::ancestors),
    function("compare", "compare(selection, baseline [, from, to [, top_n]])", compare::compare),
    function("critical_path", "critical_path(trace)", paths::critical_path),
    function(
        "critical_path_by",
        "critical_path_by(predicate, from, to, 'service' or 'operation' [, max_traces])",
        paths::critical_path_by,
    ),
    function("descendants", "descendants(trace, span [, max_depth])", tree::descendants),
    function("generate_series", "generate_series(first, last [, step])", series::generate_series),
    function("service_graph", "service_graph(from, to)", graph::service_graph),
    function("trace_diff", "trace_diff(a, b)", diff::trace_diff),
    function("trace_tree", "trace_tree(trace)", tree::trace_tree),
];

/// Their names.
pub const NAMES: [&str; FUNCTIONS.len()] = {
    let mut names = [""; FUNCTIONS.len()];
    let mut at = 0;
    while at < FUNCTIONS.len() {
        names[at] = FUNCTIONS[at].name;
        at += 1;
    }
    names
};

/// All of them, for a session with the setting `query.trace_window`.
pub fn all(trace_window: Duration) -> Vec<Arc<TableFunction>> {
    let table_function = |function: &Function| {
        let called = Called { function: *function, trace_window };
        Arc::new(TableFunction::new(function.name.to_owned(), Arc::new(called)))
    };
    FUNCTIONS.iter().map(table_function).collect()
}

#[derive(Debug)]
struct Called {
    function: Function,
    trace_window: Duration,
}

impl TableFunctionImpl for Called {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let Function { name, usage, make } = self.function;
        make(&Call { name, usage, args: args.exprs() }, self.trace_window)
    }
}
