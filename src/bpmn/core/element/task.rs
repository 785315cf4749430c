//! Service tasks: from activation to a job, and from its result to variables.
//!
//! Duty: what a job is given and what its result means. Guarantee: an effect key is never used with two inputs. Left to
//! others: the life of the job (`job`).

use std::collections::BTreeMap;

use super::super::event::Body;
use super::super::hash;
use super::super::incident::Fault;
use super::super::machine::{At, Machine};
use super::super::program::{Kind, Source, Task};
use super::super::row::{HeaderValue, Held, IncidentKind, Input};
use super::super::value::{Value, Variables};
use super::super::variables;
use super::boundary;
use crate::feel::Expr;
use crate::model::is_template;

/// Attempts in all when the task does not say.
const RETRIES: u32 = 3;

/// What a result means.
#[derive(Debug)]
pub(in super::super) enum Given {
    /// Result variables.
    Variables(Variables),
    /// `errorExpression` made a BPMN error of it.
    Error {
        /// Its code.
        code: String,
        /// One sentence.
        message: String,
    },
}

/// Arms the boundary timers, then makes the job.
pub(in super::super) fn arm_and_create(machine: &mut Machine<'_>, at: &At) {
    match boundary::arm(machine, at) {
        Ok(()) => create(machine, at),
        Err(fault) => machine.raise(at.key, &at.row, fault, Held::Timers),
    }
}

/// Makes the job.
pub(in super::super) fn create(machine: &mut Machine<'_>, at: &At) {
    let group = machine.view().element(at.key).map_or(0, |row| row.next_group);
    match job_of(machine, at, group) {
        Ok((r#type, retries, input)) => {
            let job = machine.new_key();
            let (instance, element, due_ms) = (at.row.instance, at.key, machine.now_ms);
            machine.emit(Body::JobCreated { job, instance, element, r#type, retries, due_ms, input });
        }
        Err(fault) => machine.raise(at.key, &at.row, fault, Held::Job),
    }
}

fn job_of(machine: &Machine<'_>, at: &At, group: u32) -> Result<(String, u32, Input), Fault> {
    let Kind::ServiceTask(task) = &at.node().kind else {
        return Err(Fault::new(IncidentKind::Internal, format!("`{}` is no service task", at.node().id)));
    };
    let r#type = match variables::source(machine, at.key, &task.r#type)? {
        Value::String(text) if !text.is_empty() => text,
        _ => return Err(unusable(at, "its job type is not a text", &task.r#type)),
    };
    let retries = match &task.retries {
        None => RETRIES,
        Some(source) => {
            let value = variables::source(machine, at.key, source)?;
            let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
            let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
            number.ok_or_else(|| unusable(at, "its number of retries is not a whole number above 0", source))?
        }
    };
    let input = input(machine, at, task, group)?;
    Ok((r#type, retries, input))
}

fn input(machine: &Machine<'_>, at: &At, task: &Task, group: u32) -> Result<Input, Fault> {
    let mut headers = BTreeMap::new();
    for (key, source) in &task.headers {
        let value = match source {
            // text that an expression gives is never a template: it may come from outside
            Source::Literal(text) if is_template(text) => HeaderValue::Template(text.clone()),
            source => HeaderValue::Value(variables::source(machine, at.key, source)?),
        };
        headers.insert(key.clone(), value);
    }
    let engine_id = machine.view().meta().engine_id;
    Ok(Input {
        group,
        effect_key: hash::effect_key(&engine_id, at.row.instance, at.key, group),
        headers,
        variables: variables::visible(machine.view(), at.key),
    })
}

/// Makes the input of a waiting job again: `None` when it came out as `before`, else with a group of its own.
pub(in super::super) fn input_again(
    machine: &mut Machine<'_>,
    at: &At,
    before: &Input,
) -> Result<Option<Input>, Fault> {
    variables::map_in(machine, at, &at.node().inputs)?;
    let group = machine.view().element(at.key).map_or(0, |row| row.next_group);
    let (_, _, again) = job_of(machine, at, group)?;
    // headers with rendered templates are a function of the unrendered ones, which the program still has, and of the
    // variables: equal variables give equal headers
    Ok((again.variables != before.variables).then_some(again))
}

fn unusable(at: &At, what: &str, source: &Source) -> Fault {
    let expression = match source {
        Source::Literal(text) => text.clone(),
        Source::Feel(expression) => expression.text().to_owned(),
    };
    Fault {
        kind: IncidentKind::ExpressionError,
        message: format!("task `{}`: {what}", at.node().id),
        expression: Some(expression),
        reads: Variables::new(),
    }
}

/// Reads a job's result: `errorExpression`, then `resultExpression` and `resultVariable`, else its entries as they are.
pub(in super::super) fn interpret(
    machine: &Machine<'_>,
    at: &At,
    task: &Task,
    result: &Variables,
) -> Result<Given, Fault> {
    if let Some(expression) = &task.error_expression
        && let Some((code, message)) = error_of(machine, at, expression, result)?
    {
        return Ok(Given::Error { code, message });
    }
    let mut given = Variables::new();
    if let Some(name) = &task.result_variable {
        given.insert(name.clone(), Value::Context(result.clone()));
    }
    match &task.result_expression {
        Some(expression) => {
            let mut seen = result.clone();
            seen.extend(given.clone());
            match variables::evaluate(machine, at.key, &seen, expression)? {
                (Value::Context(entries), _) => given.extend(entries),
                (_, reads) => return Err(no_context(at, "resultExpression", "a context", expression, reads)),
            }
        }
        None if task.result_variable.is_none() => given = result.clone(),
        None => {}
    }
    Ok(Given::Variables(given))
}

fn error_of(
    machine: &Machine<'_>,
    at: &At,
    expression: &Expr,
    result: &Variables,
) -> Result<Option<(String, String)>, Fault> {
    let (value, reads) = variables::evaluate(machine, at.key, result, expression)?;
    let Value::Context(entries) = value else {
        if value == Value::Null {
            return Ok(None);
        }
        return Err(no_context(at, "errorExpression", "null or a context with `code`", expression, reads));
    };
    let text = |name: &str| entries.get(name).and_then(Value::as_key);
    match text("code") {
        Some(code) => Ok(Some((code, text("message").unwrap_or_default()))),
        None => Err(no_context(at, "errorExpression", "null or a context with `code`", expression, reads)),
    }
}

fn no_context(at: &At, header: &str, wanted: &str, expression: &Expr, reads: Variables) -> Fault {
    Fault {
        kind: IncidentKind::ExpressionError,
        message: format!("task `{}`: {header} does not give {wanted}", at.node().id),
        expression: Some(expression.text().to_owned()),
        reads,
    }
}
