//! A statement that is planned once and run again and again (gates.md 8, class re-run).
//!
//! Duty: keep the optimised plan of a statement between its runs, and put the instants and the view of a run into it.
//! Guarantee: a run gives the rows that planning it anew would give; a plan keeps no rows alive. Left to others: running
//! it (`gateway`), and planning anew what cannot be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{ParamValues, Result, ScalarValue};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::context::SessionContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;

use super::config::Config;
use super::params::{Param, Params};
use super::session;
use super::table::SpanTable;
use super::within::Within;
use crate::span::pinned::ScalarType;
use crate::store::{PartSet, View};

type Types = Arc<BTreeMap<String, ScalarType>>;

/// Relations over spans that a plan of ours may read; `spans` first.
const RELATIONS: [&str; 5] = ["spans", "traces", "span_events", "span_links", "red_1m"];

/// Where the plan of one statement is kept between its runs; cheap to clone, empty at first.
///
/// It is the plan of one text, with the same parameters but for instants, and within the same rows but for instants; a
/// run of anything else plans anew and takes its place.
#[derive(Clone, Default)]
pub struct Prepared(Arc<Mutex<Option<Kept>>>);

#[derive(Clone)]
struct Kept {
    what: What,
    /// `None` = it cannot be kept.
    plan: Option<Arc<Plan>>,
}

/// What a plan was made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct What {
    sql: String,
    params: Params,
    within: Within,
    types: Types,
}

/// An optimised plan over no rows, with placeholders for instants.
#[derive(Debug)]
pub(super) struct Plan {
    plan: LogicalPlan,
    /// The view in the place of `spans`; `None` = `spans` itself.
    spans: Option<LogicalPlan>,
    /// Tables that it reads.
    tables: BTreeSet<String>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("is_planned", &self.is_planned()).finish()
    }
}

impl Prepared {
    /// Whether the next run of the same statement finds its plan.
    pub fn is_planned(&self) -> bool {
        self.plan(|kept| kept.plan.is_some())
    }

    /// Whether the statement is known to read nothing but spans and relations over them.
    pub fn reads_spans_only(&self) -> bool {
        let spans_only = |plan: &Arc<Plan>| plan.tables.iter().all(|table| RELATIONS.contains(&table.as_str()));
        self.plan(|kept| kept.plan.as_ref().is_some_and(spans_only))
    }

    fn plan(&self, holds: impl FnOnce(&Kept) -> bool) -> bool {
        self.0.lock().expect("no holder of this lock panics").as_ref().is_some_and(holds)
    }

    /// The plan of `what`: `None` = there is none yet, `Some(None)` = it cannot be kept.
    pub(super) fn get(&self, what: &What) -> Option<Option<Arc<Plan>>> {
        let kept = self.0.lock().expect("no holder of this lock panics").clone();
        kept.filter(|kept| kept.what == *what).map(|kept| kept.plan)
    }

    pub(super) fn keep(&self, what: What, plan: Option<Arc<Plan>>) {
        *self.0.lock().expect("no holder of this lock panics") = Some(Kept { what, plan });
    }
}

impl What {
    pub(super) fn of(sql: &str, params: &Params, within: &Within, config: &Config) -> Self {
        let types = config.attribute_types.clone();
        Self { sql: sql.to_owned(), params: later(params), within: within.without_instants(), types }
    }

    /// The parameters with a placeholder for each instant.
    pub(super) const fn params(&self) -> &Params {
        &self.params
    }
}

/// The parameters of the plan: instants come later.
fn later(params: &Params) -> Params {
    match params {
        Params::Map(values) => {
            let open = |(name, value): (&String, &Param)| match value {
                Param::Instant(_) => (name.clone(), Param::Later),
                other => (name.clone(), other.clone()),
            };
            Params::Map(values.iter().map(open).collect())
        }
        other => other.clone(),
    }
}

/// `view` without rows: what a plan is made over and a kept session knows.
pub(super) fn bare(view: &View) -> View {
    View { parts: Arc::new(PartSet::default()), memory: Vec::new(), ..view.clone() }
}

impl Plan {
    /// Keeps `plan`, which is optimised, and the view in the place of `spans`. `None` if it reads a table that is neither
    /// a relation over spans nor one of `extra`: such tables belong to one view.
    pub(super) fn new(plan: LogicalPlan, spans: &Arc<dyn TableProvider>, extra: &[&str]) -> Result<Option<Self>> {
        let mut tables = BTreeSet::new();
        let mut known = true;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let name = scan.table_name.table();
                let is_ours = scan.table_name.schema().is_none_or(|schema| schema == session::SCHEMA);
                known &= is_ours && (RELATIONS.contains(&name) || extra.contains(&name));
                tables.insert(name.to_owned());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let spans = spans.get_logical_plan().map(std::borrow::Cow::into_owned);
        Ok(known.then_some(Self { plan, spans, tables }))
    }

    /// The plan of a run with `params` and `within` over `view`, ready to become physical.
    pub(super) fn bind(
        &self,
        params: &Params,
        within: &Within,
        view: &View,
        config: &Config,
        state: &SessionState,
    ) -> Result<LogicalPlan> {
        let mut instants = within.instants();
        if let Params::Map(values) = params {
            let given = |(name, value): (&String, &Param)| match value {
                Param::Instant(ns) => Some((name.clone(), *ns)),
                _ => None,
            };
            instants.extend(values.iter().filter_map(given));
        }
        let literal = |ns| ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into()));
        let values: Vec<(String, ScalarValue)> = instants.into_iter().map(|(name, ns)| (name, literal(ns))).collect();
        let values = ParamValues::from(values);
        let spans: Arc<dyn TableProvider> = Arc::new(SpanTable::new(view.clone()));
        let mut tables = BTreeMap::from([("spans", spans.clone())]);
        if self.tables.iter().any(|table| table != "spans" && RELATIONS.contains(&table.as_str())) {
            let over: Arc<dyn TableProvider> = match &self.spans {
                Some(plan) => {
                    let narrowed = over_tables(plan.clone().with_param_values(values.clone())?, &tables)?;
                    Arc::new(ViewTable::new(narrowed, None))
                }
                None => spans.clone(),
            };
            // `spans` of the plan is the whole table: the view over it was written out when it was planned.
            tables = session::relations_over(over, config).into_iter().collect();
            tables.insert("spans", spans);
        }
        let bound = over_tables(self.plan.clone().with_param_values(values)?, &tables)?;
        // Bounds of time made of instants and intervals become literals, by which a scan leaves out parts.
        Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new())]).optimize(bound, state, |_, _| {})
    }
}

/// `plan` with its scans of `tables` over those.
fn over_tables(plan: LogicalPlan, tables: &BTreeMap<&str, Arc<dyn TableProvider>>) -> Result<LogicalPlan> {
    let over = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => match tables.get(scan.table_name.table()) {
            Some(table) => {
                scan.source = provider_as_source(table.clone());
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(over.data)
}

/// A session without rows, made once for all plans of a gateway that read attributes in the same types.
#[derive(Clone, Default)]
pub(super) struct Bare(Arc<Mutex<Option<(Types, SessionContext)>>>);

impl fmt::Debug for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bare")
    }
}

impl Bare {
    /// The session; `open` makes it.
    pub(super) fn get(&self, config: &Config, open: impl FnOnce() -> Result<SessionContext>) -> Result<SessionContext> {
        let mut kept = self.0.lock().expect("no holder of this lock panics");
        if let Some((types, context)) = kept.as_ref()
            && Arc::ptr_eq(types, &config.attribute_types)
        {
            return Ok(context.clone());
        }
        let context = open()?;
        *kept = Some((config.attribute_types.clone(), context.clone()));
        Ok(context)
    }
}
