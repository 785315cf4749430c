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
    /// Only rows of this time, over all tables that [`Window::tables`] and [`Window::spans_by`] name.
    pub window: Option<Window>,
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
    /// Other tables, where they exist, and their columns that must lie in it.
    pub tables: &'static [(&'static str, &'static str)],
}

impl Within {
    /// Puts the views into `context`, whose tables are all registered.
    pub(super) async fn narrow(&self, context: &SessionContext, config: &Config) -> Result<()> {
        let spans = view(context, "spans", &self.conditions()).await?;
        for (name, table) in session::relations_over(spans, config) {
            context.deregister_table(name)?;
            context.register_table(name, table)?;
        }
        let Some(window) = &self.window else { return Ok(()) };
        for (table, column) in window.tables {
            if context.table_exist(*table)? {
                let narrowed = view(context, table, &[window.holds(column)]).await?;
                context.deregister_table(*table)?;
                context.register_table(*table, narrowed)?;
            }
        }
        Ok(())
    }

    fn conditions(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(window) = &self.window {
            all.push(window.holds(window.spans_by));
        }
        if let Some(cut_us) = self.cut_us {
            // The position's unit is µs, so no row lies between this instant and the next.
            let at = instant_text(cut_us.saturating_mul(1_000));
            all.push(format!("ingest_time <= CAST('{at}' AS TIMESTAMP WITH TIME ZONE)"));
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
    fn holds(&self, column: &str) -> String {
        let at = |ns: i64| format!("CAST('{}' AS TIMESTAMP WITH TIME ZONE)", instant_text(ns));
        format!("{column} >= {} AND {column} < {}", at(self.start_ns), at(self.end_ns))
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
