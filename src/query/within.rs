//! A statement that sees a part of the rows: what gates ask (gates.md 2).
//!
//! Duty: put views with conditions in the place of `spans`, of the relations over it, and of tables of other modules.
//! Guarantee: the text of the statement stays as it is, and no name reaches a row outside; the same rows and the same
//! [`Within`] give the same result. Left to others: which rows those are (`gate`).

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::datasource::ViewTable;
use datafusion::execution::context::SessionContext;

use super::config::Config;
use super::params::instant_text;
use super::session;

/// Which rows a statement sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Within {
    /// Only spans that the store took up to here: µs since 1970.
    pub cut_us: Option<i64>,
    /// Which of them.
    pub spans: Spans,
    /// Only rows of this time, over all tables that [`Within::tables`] and [`Window::spans_by`] name.
    pub window: Option<Window>,
    /// Other tables of which not all rows are seen, where they exist.
    pub tables: &'static [Table],
}

/// Which spans, by where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spans {
    /// Spans whose attribute or resource `weavergen.origin` is none of these words.
    NotOf(Vec<&'static str>),
    /// Exactly the spans whose resource `weavergen.run` is this text.
    OfRun(String),
}

impl Default for Spans {
    fn default() -> Self {
        Self::NotOf(Vec::new())
    }
}

/// A half-open time, ns since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// First instant in it.
    pub start_ns: i64,
    /// First instant behind it.
    pub end_ns: i64,
    /// Column of `spans` that must lie in it.
    pub spans_by: &'static str,
}

/// A table of another module, and which of its rows are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What of it must lie in the window, if there is one.
    pub by: Times,
    /// What else must hold of a row, also without a window, in SQL; `None` = nothing.
    pub only: Option<&'static str>,
}

impl Table {
    /// All rows of the table `name` that lie in the window by `by`.
    pub const fn all(name: &'static str, by: Times) -> Self {
        Self { name, by, only: None }
    }
}

/// Columns by which a row lies in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// An instant in `[start, end)`.
    At(&'static str),
    /// Ticks, the first and the last of which are these columns. A tick is the end of a window, so it lies in
    /// `(start, end]`.
    Ticks(&'static str, &'static str),
}

/// Whether a plan is made for the instants of one run, or for those of all that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instants {
    /// They stand in the plan.
    Given,
    /// They are placeholders of the plan.
    Later,
}

/// Names of the placeholders of [`Instants::Later`].
pub(super) const START: &str = "within_start";
pub(super) const END: &str = "within_end";
pub(super) const CUT: &str = "within_cut";

impl Within {
    /// Puts the views into `context`, whose tables are all registered. Gives the one in the place of `spans`.
    pub(super) async fn narrow(
        &self,
        context: &SessionContext,
        config: &Config,
        instants: Instants,
    ) -> Result<Arc<dyn TableProvider>> {
        let spans = view(context, "spans", &self.conditions(instants)).await?;
        for (name, table) in session::relations_over(spans.clone(), config) {
            context.deregister_table(name)?;
            context.register_table(name, table)?;
        }
        for table in self.tables {
            let times = self.window.as_ref().map(|window| window.holds(table.by, instants));
            let conditions: Vec<String> = times.into_iter().chain(table.only.map(str::to_owned)).collect();
            if !conditions.is_empty() && context.table_exist(table.name)? {
                let narrowed = view(context, table.name, &conditions).await?;
                context.deregister_table(table.name)?;
                context.register_table(table.name, narrowed)?;
            }
        }
        Ok(spans)
    }

    /// The values of the placeholders of [`Instants::Later`], ns since 1970.
    pub(super) fn instants(&self) -> Vec<(String, i64)> {
        let window = self.window.iter().flat_map(|window| [(START, window.start_ns), (END, window.end_ns)]);
        let cut = self.cut_us.map(|cut_us| (CUT, cut_us.saturating_mul(1_000)));
        window.chain(cut).map(|(name, at)| (name.to_owned(), at)).collect()
    }

    /// Equal for what differs in instants alone.
    pub(super) fn without_instants(&self) -> Self {
        let window = self.window.clone().map(|window| Window { start_ns: 0, end_ns: 0, ..window });
        Self { cut_us: self.cut_us.map(|_| 0), spans: self.spans.clone(), window, tables: self.tables }
    }

    /// What a span must meet, in SQL.
    pub(super) fn conditions(&self, instants: Instants) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(window) = &self.window {
            all.push(window.holds(Times::At(window.spans_by), instants));
        }
        if let Some(cut_us) = self.cut_us {
            // The position's unit is µs, so no row lies between this instant and the next.
            all.push(format!("ingest_time <= {}", instants.text(CUT, cut_us.saturating_mul(1_000))));
        }
        match &self.spans {
            Spans::NotOf(words) if words.is_empty() => {}
            Spans::NotOf(words) => {
                let words: Vec<String> = words.iter().map(|word| text(word)).collect();
                for container in ["attributes", "resource"] {
                    let words = words.join(", ");
                    all.push(format!("coalesce({container}->>'weavergen.origin', '') NOT IN ({words})"));
                }
            }
            Spans::OfRun(run) => all.push(format!("resource->>'weavergen.run' = {}", text(run))),
        }
        all
    }
}

impl Window {
    fn holds(&self, by: Times, instants: Instants) -> String {
        let (start, end) = (instants.text(START, self.start_ns), instants.text(END, self.end_ns));
        match by {
            Times::At(column) => format!("{column} >= {start} AND {column} < {end}"),
            Times::Ticks(first, last) => format!("{last} > {start} AND {first} <= {end}"),
        }
    }
}

impl Instants {
    fn text(self, name: &str, ns: i64) -> String {
        match self {
            Self::Given => format!("CAST('{}' AS TIMESTAMP WITH TIME ZONE)", instant_text(ns)),
            Self::Later => format!("CAST(${name} AS TIMESTAMP WITH TIME ZONE)"),
        }
    }
}

/// The table `name` with only the rows for which all `conditions` hold.
async fn view(context: &SessionContext, name: &str, conditions: &[String]) -> Result<Arc<dyn TableProvider>> {
    if conditions.is_empty() {
        return context.table_provider(name).await;
    }
    let sql = format!("SELECT * FROM {name} WHERE {}", conditions.join(" AND "));
    let plan = Box::pin(context.state().create_logical_plan(&sql)).await?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// A text literal.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}
