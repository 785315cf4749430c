//! What a pipeline's file says of its tasks, for their spans (bpmn.md 15).
//!
//! Duty: a task's type and the constants among its headers, by process and element id. Guarantee: a header counts as
//! constant only if it gives its value without any variable, so that no value of a variable gets into a span. Left to
//! others: which attributes they become (`trace`).

use std::collections::BTreeMap;

use bpmn::feel::{self, Context, Names, Value};
use bpmn::model::{self, Extensions, NodeKind, Text};

/// The property of a task that sets `cicd.pipeline.task.type`.
const TASK_TYPE: &str = "cicd.pipeline.task.type";

/// The tasks of a file.
#[derive(Debug, Default)]
pub(super) struct Drawn(BTreeMap<(String, String), Task>);

/// One of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Task {
    /// `build`, `test`, `deploy` or what else its property says.
    pub r#type: Option<String>,
    /// Header `query` of a `sql` job.
    pub query: Option<String>,
    /// Header `queryFile` of a `sql` job.
    pub query_file: Option<String>,
    /// First item of header `argv` of a `command` job.
    pub command: Option<String>,
}

impl Drawn {
    /// The tasks of `bytes`; none if it can no longer be read.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let Ok(definitions) = model::parse(bytes) else { return Self::default() };
        let mut tasks = BTreeMap::new();
        for process in &definitions.processes {
            for node in process.scope.nodes.iter().filter(|node| matches!(node.kind, NodeKind::ServiceTask)) {
                tasks.insert((process.id.clone(), node.id.clone()), Task::of(&node.extensions));
            }
        }
        Self(tasks)
    }

    /// The task `element` of `process`.
    pub(super) fn task(&self, process: &str, element: &str) -> Option<&Task> {
        self.0.get(&(process.to_owned(), element.to_owned()))
    }
}

impl Task {
    fn of(extensions: &Extensions) -> Self {
        let header = |key: &str| extensions.headers.iter().find(|header| header.key == key).map(|header| &header.value);
        let property = extensions.properties.iter().find(|(name, _)| name == TASK_TYPE);
        Self {
            r#type: property.map(|(_, value)| value.clone()).filter(|value| !value.is_empty()),
            query: header("query").and_then(constant).and_then(text),
            query_file: header("queryFile").and_then(constant).and_then(text),
            command: header("argv").and_then(constant).and_then(first),
        }
    }
}

/// What `header` gives without any variable: for an expression also what it gives in part, the rest being null.
fn constant(header: &Text) -> Option<Value> {
    match header.feel() {
        None if model::is_template(&header.text) => None,
        None => Some(Value::String(header.text.clone())),
        Some(expression) => {
            let expression = feel::compile(expression, &Names::new()).ok()?;
            expression.eval(&Context::new(), 0).ok().map(|(value, _)| value)
        }
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// The first item of a list, or of the JSON text of one.
fn first(value: Value) -> Option<String> {
    match value {
        Value::List(items) => items.into_iter().next().and_then(text),
        Value::String(json) => match serde_json::from_str(&json) {
            Ok(serde_json::Value::Array(items)) => items.first()?.as_str().map(str::to_owned),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::scenario::{file, task};

    fn of(headers: &[(&str, &str)], more: &str) -> Task {
        let headers: String =
            headers.iter().map(|(key, value)| format!(r#"<zeebe:header key="{key}" value='{value}'/>"#)).collect();
        let body = task("t", "sql", &format!("<zeebe:taskHeaders>{headers}</zeebe:taskHeaders>{more}"));
        let mut drawn = Drawn::of(&file("p", &body).bytes);
        assert!(drawn.task("p", "other").is_none());
        drawn.0.remove(&("p".to_owned(), "t".to_owned())).unwrap()
    }

    #[test]
    fn a_header_is_told_only_if_no_variable_is_in_it() {
        let task = of(&[("query", "SELECT $a FROM spans"), ("argv", r#"["shop", "--name"]"#)], "");
        assert_eq!(task.query.as_deref(), Some("SELECT $a FROM spans"));
        assert_eq!(task.command.as_deref(), Some("shop"));
        let text = "SELECT 1 FROM spans WHERE name LIKE {% a %}";
        assert_eq!(of(&[("query", text)], "").query.as_deref(), Some(text), "only `{{` makes a template");
        let task = of(&[("queryFile", r#"="learn/" + "a.sql""#), ("argv", r#"=["shop", service]"#)], "");
        assert_eq!((task.query_file.as_deref(), task.command.as_deref()), (Some("learn/a.sql"), Some("shop")));
        for value in ["=x", r#"="SELECT " + x"#, "SELECT {{ x }}", ""] {
            assert_eq!(of(&[("query", value), ("queryFile", value)], ""), Task::default(), "{value}");
        }
        for argv in ["=[x]", "=x", "=[x, \"shop\"]", "shop"] {
            assert_eq!(of(&[("argv", argv)], "").command, None, "{argv}");
        }
    }

    #[test]
    fn a_property_sets_the_type_of_the_task() {
        let property = |name: &str| {
            format!(r#"<zeebe:properties><zeebe:property name="{name}" value="test"/></zeebe:properties>"#)
        };
        assert_eq!(of(&[], &property("cicd.pipeline.task.type")).r#type.as_deref(), Some("test"));
        assert_eq!(of(&[], &property("other")).r#type, None);
        assert!(Drawn::of(b"<no").0.is_empty());
    }
}
