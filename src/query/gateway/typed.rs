//! What a statement with numbered parameters would give, for a wire that asks before their values come.
//!
//! Duty: the types of its parameters and of its columns, by planning it. Guarantee: it passes the same guard as a run, and
//! reads no rows. Left to others: values of parameters (`pg`), running it.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::LogicalPlan;

use super::run::{Job, opened};
use super::{Gateway, Granted, Statement};
use crate::query::error::Error;
use crate::query::guard;
use crate::query::names::Names;
use crate::query::params::{self, Param, Params};
use crate::query::translate::translate;
use crate::query::within::Instants;

/// Parameters that one statement may have.
const MAX_PARAMETERS: usize = 65_535;

/// A parameter as the plan wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its type; `None` = the plan takes any, or does not say.
    pub of: Option<DataType>,
    /// Whether it is an array of that type.
    pub is_array: bool,
}

/// A statement as it would run.
#[derive(Clone, Debug)]
pub struct Typed {
    /// What `$1`, `$2` … are to be.
    pub parameters: Vec<Wanted>,
    /// Columns.
    pub schema: SchemaRef,
}

impl Gateway {
    /// What `statement` would give, and which parameters it wants; it is planned, not run. `fill` gives a value of its
    /// type to each parameter.
    ///
    /// Errors: as [`Gateway::run`], before the first row.
    pub async fn typed(
        &self,
        statement: Statement,
        fill: impl FnOnce(&[Wanted]) -> Vec<Param> + Send + 'static,
    ) -> Result<Typed, Error> {
        let limits = Granted::of(&statement, &self.inner.config, &mut Vec::new());
        self.planning(statement, &limits, |job| planned(job, fill)).await
    }
}

/// Plans `job` with open parameters for their types, then with those that `fill` gives for its columns.
async fn planned(job: Job, fill: impl FnOnce(&[Wanted]) -> Vec<Param>) -> Result<Typed, Error> {
    let numbers = params::names(&job.sql).into_iter().filter_map(|(name, _)| name.parse::<usize>().ok());
    let count = numbers.filter(|number| *number <= MAX_PARAMETERS).max().unwrap_or(0);
    let mut parameters = vec![Wanted::default(); count];
    if count > 0
        // What cannot be planned with open parameters may be with values: then all of them are of any type.
        && let Ok((plan, _, arrays)) = plan(&job, &Params::Open).await
        && let Ok(types) = plan.get_parameter_types()
    {
        for (at, wanted) in parameters.iter_mut().enumerate() {
            let name = (at + 1).to_string();
            wanted.of = types.get(&format!("${name}")).cloned().flatten();
            wanted.is_array = arrays.contains(&name);
        }
    }
    let values = if count == 0 { Params::None } else { Params::List(fill(&parameters)) };
    let (plan, names, _) = plan(&job, &values).await?;
    Ok(Typed { parameters, schema: names.applied(Arc::new(plan.schema().as_arrow().clone())) })
}

/// The plan, the names of its columns, and which placeholders stand for arrays.
async fn plan(job: &Job, params: &Params) -> Result<(LogicalPlan, Names, Vec<String>), Error> {
    let checked = guard::check_of(job.writer(), &job.sql, params)?;
    let (context, _) = opened(job, &job.view, Instants::Given).await?;
    let state = context.state();
    let names = Names::of(&checked.statement);
    let planned = Box::pin(state.statement_to_plan(checked.statement)).await;
    let plan = planned.map_err(|e| translate(&e, &job.sql, Some(&context)))?;
    guard::check_plan(&plan, job.sources())?;
    Ok((plan, names, checked.arrays))
}
