//! Statements that share partial states (gates.md 8, class decomposable).
//!
//! Duty: put statements that aggregate the same spans by the same keys over one [`Aggregation`] of all that they ask for, and
//! aggregations of the same selection of spans over one [`Source`], so that a span is read once for all of them. Guarantee:
//! a statement that is shared gives the rows that it gives alone. Left to others: which spans are read when, and which states
//! are kept (`gate`).

mod aggregation;
mod answer;
mod decompose;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, cast, lit};

pub use aggregation::Aggregation;
pub use answer::Answer;
pub use source::{Part, Reading, Source};

use self::aggregation::Maker;
use self::answer::Places;
use self::decompose::{Decomposed, decompose};
use super::attributes::attr::Attr;
use super::error::{Code, Error};
use super::gateway::Floor;
use super::guard;
use super::params::Params;
use super::sources::Sources;
use super::translate::translate;
use super::within::Spans;
use super::{Gateway, scan};
use crate::span::pinned::ScalarType;

/// What is asked again and again.
#[derive(Clone, Debug)]
pub struct Question {
    /// One statement over `spans`.
    pub sql: String,
    /// Its parameters.
    pub params: Params,
    /// Which spans it sees.
    pub spans: Spans,
    /// Whether a span belongs to the window in which it starts; otherwise in which it ends.
    pub by_start: bool,
    /// Questions that differ in this share nothing.
    pub apart: i64,
}

/// Statements over what they share.
#[derive(Debug)]
pub struct Sharing {
    /// Types in which attributes are read.
    pub types: Arc<BTreeMap<String, ScalarType>>,
    /// What spans are read for, and what the questions over it have in `apart`.
    pub sources: Vec<(Arc<Source>, i64)>,
    /// Where each question stands, in their order; why not.
    pub members: Vec<Result<Member, String>>,
}

/// A statement among those that share.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its place in [`Sharing::sources`].
    pub source: usize,
    /// Its place in [`Source::aggregations`].
    pub aggregation: usize,
    /// What it makes of the values.
    pub answer: Arc<Answer>,
}

/// Whether the statement of `plan`, which is analysed and not optimised, may share.
///
/// Errors: why not.
pub fn may_share(plan: &LogicalPlan) -> Result<(), String> {
    decompose(plan).map(|_| ())
}

/// An aggregation that is being put together.
#[derive(Default)]
struct Draft {
    filter: Vec<Expr>,
    keys: Vec<Expr>,
    aggregates: Vec<Expr>,
    of_source: usize,
}

/// A question that is being placed.
struct Placing {
    parts: Decomposed,
    draft: usize,
    places: Places,
}

impl Gateway {
    /// Puts `questions` over what they can share. Work for the query threads, and the better the more it is given at once.
    ///
    /// Errors: the engine.
    pub async fn share(&self, questions: Vec<Question>) -> Result<Sharing, Error> {
        let floor = self.floor();
        let work = self.spawn(async move {
            let floor = floor.map_err(|error| translate(&error, "", None))?;
            put_together(floor, questions).await
        });
        work.await.unwrap_or_else(|_| Err(Error::new(Code::Internal, "the statements could not be put together")))
    }
}

async fn put_together(floor: Floor, questions: Vec<Question>) -> Result<Sharing, Error> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut selections: Vec<(Spans, bool, i64)> = Vec::new();
    let table = DFSchema::try_from_qualified_schema(decompose::SPANS, scan::table_schema());
    let table = table.map_err(|error| translate(&error, "", None))?;
    let mut placings = Vec::with_capacity(questions.len());
    for question in questions {
        let parts = parts_of(&floor.state, &question).await;
        placings.push(parts.and_then(|parts| {
            let selection = (question.spans, question.by_start, question.apart);
            place(parts, place_of(&mut selections, selection), &mut drafts, &table)
        }));
    }
    keep_wanted(&mut drafts, &placings);
    let mut sources = Vec::with_capacity(selections.len());
    // Source of each draft and its place there; why it has none.
    let mut built: Vec<Result<(usize, usize), String>> = vec![Err(String::new()); drafts.len()];
    for (at, (spans, by_start, apart)) in selections.iter().enumerate() {
        let mut of_it: Vec<usize> = (0..drafts.len()).filter(|draft| drafts[*draft].of_source == at).collect();
        let mut columns = Vec::new();
        for draft in &of_it {
            let draft = &mut drafts[*draft];
            for expr in draft.filter.iter_mut().chain(&mut draft.keys).chain(&mut draft.aggregates) {
                *expr = taken(expr, &mut columns);
            }
        }
        let scan = source::Scan::new(&floor, spans, *by_start, &columns).await;
        let scan = match scan {
            Ok(scan) => scan,
            Err(error) => {
                of_it.iter().for_each(|draft| built[*draft] = Err(error.to_string()));
                continue;
            }
        };
        let maker = Maker { state: &floor.state, schema: scan.schema.clone() };
        let mut aggregations = Vec::new();
        of_it.retain(|draft| {
            let Draft { filter, keys, aggregates, .. } = &drafts[*draft];
            let made = Aggregation::new(filter, keys, aggregates, &maker);
            let is_made = made.is_ok();
            let kept = made.map(|made| {
                aggregations.push(Arc::new(made));
                (sources.len(), aggregations.len() - 1)
            });
            built[*draft] = kept.map_err(|error| error.to_string());
            is_made
        });
        sources.push((Arc::new(Source::new(scan, aggregations, floor.clone())), *apart));
    }
    let answered = |placing: Placing| {
        let Placing { parts, draft, places } = placing;
        let (source, aggregation) = built[draft].clone()?;
        let of = &sources[source].0.aggregations[aggregation];
        let answer = Answer::new(&parts, &places, of, &floor.state).map_err(|error| error.to_string())?;
        Ok(Member { source, aggregation, answer: Arc::new(answer) })
    };
    let members = placings.into_iter().map(|placing| placing.and_then(&answered)).collect();
    Ok(Sharing { types: floor.config.attribute_types.clone(), sources, members })
}

async fn parts_of(state: &SessionState, question: &Question) -> Result<Decomposed, String> {
    let checked = guard::check(&question.sql, &question.params).map_err(|error| error.message)?;
    let plan = Box::pin(state.statement_to_plan(checked.statement)).await.map_err(|error| error.to_string())?;
    guard::check_plan(&plan, Sources::with(&[])).map_err(|error| error.message)?;
    decompose(&analysed(state, plan).map_err(|error| error.to_string())?)
}

/// `plan` with types, and without what is left to optimise.
pub(super) fn analysed(state: &SessionState, plan: LogicalPlan) -> datafusion::common::Result<LogicalPlan> {
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})
}

fn place(parts: Decomposed, of_source: usize, drafts: &mut Vec<Draft>, table: &DFSchema) -> Result<Placing, String> {
    let types = parts.keys.iter().map(|key| key.get_type(table)).collect::<Result<Vec<_>, _>>();
    let types = types.map_err(|error| error.to_string())?;
    let distinct = |exprs: &mut dyn Iterator<Item = &Expr>| {
        let mut all: Vec<Expr> = Vec::new();
        for expr in exprs {
            if !all.contains(expr) {
                all.push(expr.clone());
            }
        }
        all
    };
    let filter = distinct(&mut parts.filter.iter());
    let keys = distinct(&mut parts.keys.iter().chain(parts.pinned.iter().map(|(column, _)| column)));
    let same = |one: &[Expr], other: &[Expr]| one.len() == other.len() && one.iter().all(|expr| other.contains(expr));
    let fits = |draft: &Draft| draft.of_source == of_source && same(&draft.keys, &keys) && same(&draft.filter, &filter);
    let draft = drafts.iter().position(fits).unwrap_or_else(|| {
        drafts.push(Draft { filter, keys, aggregates: Vec::new(), of_source });
        drafts.len() - 1
    });
    let of = &mut drafts[draft];
    let place_of_key = |key: &Expr| of.keys.iter().position(|other| other == key).unwrap_or_default();
    let keys = parts.keys.iter().map(place_of_key).zip(types).collect();
    let pinned = parts.pinned.iter().map(|(column, _)| place_of_key(column)).collect();
    let aggregates = parts.aggregates.iter().map(|aggregate| place_of(&mut of.aggregates, aggregate.clone())).collect();
    Ok(Placing { places: Places { keys, aggregates, pinned }, parts, draft })
}

/// Where every statement of an aggregation wants certain texts of a column, others are no keys: names that anybody may send
/// would fill it.
fn keep_wanted(drafts: &mut [Draft], placings: &[Result<Placing, String>]) {
    let mut of_drafts: Vec<Vec<&Decomposed>> = vec![Vec::new(); drafts.len()];
    for placing in placings.iter().flatten() {
        of_drafts[placing.draft].push(&placing.parts);
    }
    for (draft, of) in drafts.iter_mut().zip(of_drafts) {
        let Some(first) = of.first() else { continue };
        for (column, _) in &first.pinned {
            let texts = |parts: &Decomposed| -> BTreeSet<String> {
                let of_it = parts.pinned.iter().filter(|(other, _)| other == column);
                of_it.map(|(_, text)| text.clone()).collect()
            };
            let wanted: Vec<BTreeSet<String>> = of.iter().copied().map(texts).collect();
            if wanted.iter().all(|texts| !texts.is_empty()) {
                let all: BTreeSet<String> = wanted.into_iter().flatten().collect();
                let column = cast(column.clone(), DataType::Utf8);
                draft.filter.push(column.in_list(all.into_iter().map(lit).collect(), false));
            }
        }
    }
}

/// `expr` over columns `s0` … of what is read: attributes by themselves, so that whole lists of them need not be carried.
fn taken(expr: &Expr, columns: &mut Vec<Expr>) -> Expr {
    let mut column_of = |expr: Expr| decompose::placed('s', place_of(columns, expr));
    let found = expr.clone().transform_down(|inner| {
        let is_attribute = Attr::in_expr(&inner).is_some_and(|(_, container)| matches!(container, Expr::Column(_)));
        Ok(match inner {
            Expr::Column(_) => Transformed::new(column_of(inner), true, TreeNodeRecursion::Jump),
            _ if is_attribute => Transformed::new(column_of(inner), true, TreeNodeRecursion::Jump),
            _ => Transformed::no(inner),
        })
    });
    found.map_or_else(|_| expr.clone(), |found| found.data)
}

/// Where `one` stands in `all`; put at the end, if it is not there yet.
fn place_of<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}
