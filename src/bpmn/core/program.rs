//! Processes ready to run: graph and compiled expressions.
//!
//! Duty: turn definitions into programs once, at deploy. Guarantee: a program holds only what this machine runs; anything
//! else is an error that names element and line. Left to others: all other judgement (`lint`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::feel::{self, Expr, Names};
use crate::model::{
    BoundaryTrigger, Definitions, EndResult, Node as ModelNode, NodeKind, Process, StartTrigger, Text, Timer,
};

/// Programs by (content hash, process id).
#[derive(Clone, Debug, Default)]
pub struct Models {
    /// Shared: a clone of all of them costs nothing, and each batch has one.
    programs: Arc<BTreeMap<(String, String), Arc<Program>>>,
}

impl Models {
    /// Adds every executable process of a file whose content hash is `hash`.
    ///
    /// Errors: all that keeps one from being run, at once; then nothing is added.
    pub fn add(&mut self, hash: &str, definitions: &Definitions) -> Result<Vec<Arc<Program>>, Vec<Error>> {
        let mut added = Vec::new();
        let mut errors = Vec::new();
        for process in definitions.processes.iter().filter(|process| process.is_executable()) {
            match Program::compile(definitions, process) {
                Ok(program) => added.push(Arc::new(program)),
                Err(more) => errors.extend(more),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let programs = Arc::make_mut(&mut self.programs);
        for program in &added {
            programs.insert((hash.to_owned(), program.id.clone()), Arc::clone(program));
        }
        Ok(added)
    }

    /// The program of a process in the file with this content hash.
    pub fn program(&self, hash: &str, process: &str) -> Option<&Arc<Program>> {
        self.programs.get(&(hash.to_owned(), process.to_owned()))
    }
}

/// Why a process cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process `{process}`, element `{element}` (line {line}): {message}")]
pub struct Error {
    /// Process id.
    pub process: String,
    /// Element id.
    pub element: String,
    /// Its line, from 1; 0 = unknown.
    pub line: u32,
    /// What is wrong and what to do.
    pub message: String,
}

/// One executable process.
#[derive(Clone, Debug)]
pub struct Program {
    /// Process id.
    pub id: String,
    /// Of what is executed, hex.
    pub exec_hash: String,
    /// `zeebe:versionTag`.
    pub version_tag: Option<String>,
    /// Nodes in document order.
    pub nodes: Vec<Node>,
    /// Flows in document order.
    pub flows: Vec<Flow>,
}

/// A flow node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Local name of the element.
    pub element: String,
    /// What it does.
    pub kind: Kind,
    /// Flows that end here.
    pub incoming: Vec<usize>,
    /// Flows that begin here, in document order.
    pub outgoing: Vec<usize>,
    /// The one taken when no other is.
    pub default: Option<usize>,
    /// Boundary events attached here.
    pub boundaries: Vec<usize>,
    /// Input mappings.
    pub inputs: Vec<Mapping>,
    /// Output mappings.
    pub outputs: Vec<Mapping>,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Begins a process; `message` names what starts it.
    Start {
        /// Message name.
        message: Option<String>,
    },
    /// A token ends.
    End,
    /// A BPMN error is thrown; no code = caught by catch-alls only.
    ErrorEnd {
        /// Its code.
        code: Option<String>,
    },
    /// A job.
    ServiceTask(Box<Task>),
    /// One of its flows is taken.
    ExclusiveGateway,
    /// Catches an error of its host; no code = any.
    ErrorBoundary {
        /// The code it catches.
        code: Option<String>,
    },
    /// Fires at a time.
    TimerBoundary {
        /// Whether it ends its host.
        interrupting: bool,
        /// Whether the text is a date, else a duration.
        date: bool,
        /// When.
        text: Source,
    },
}

/// What a service task asks for.
#[derive(Clone, Debug)]
pub struct Task {
    /// Job type.
    pub r#type: Source,
    /// Attempts in all.
    pub retries: Option<Source>,
    /// Headers but the two that read the result.
    pub headers: Vec<(String, Source)>,
    /// Header `resultExpression`.
    pub result_expression: Option<Expr>,
    /// Header `errorExpression`.
    pub error_expression: Option<Expr>,
    /// Header `resultVariable`.
    pub result_variable: Option<String>,
}

/// A literal, or FEEL after `=`.
#[derive(Clone, Debug)]
pub enum Source {
    /// Text as it is.
    Literal(String),
    /// An expression.
    Feel(Expr),
}

/// One mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// What.
    pub source: Source,
    /// Where to: a name and the path below it.
    pub target: Vec<String>,
}

/// A sequence flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its id.
    pub id: String,
    /// Where it ends.
    pub target: usize,
    /// When it is taken.
    pub condition: Option<Expr>,
}

impl Program {
    /// Compiles one process.
    pub fn compile(definitions: &Definitions, process: &Process) -> Result<Self, Vec<Error>> {
        let mut compiler = Compiler { definitions, process, names: names(process), errors: Vec::new() };
        let nodes = process.scope.nodes.iter().map(|node| compiler.node(node)).collect::<Vec<_>>();
        let flows = process
            .scope
            .flows
            .iter()
            .map(|flow| {
                let condition =
                    flow.condition.as_ref().and_then(|text| compiler.expression(&flow.id, strip(&text.text), text));
                Flow { id: flow.id.clone(), target: flow.target, condition }
            })
            .collect::<Vec<_>>();
        if !compiler.errors.is_empty() {
            return Err(compiler.errors);
        }
        Ok(Self {
            id: process.id.clone(),
            exec_hash: crate::model::exec_hash(definitions),
            version_tag: process.version_tag.clone(),
            nodes: nodes.into_iter().flatten().collect(),
            flows,
        })
    }

    /// Index of the node called `id`.
    pub fn node(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// (message name, start event id), in document order.
    pub fn message_starts(&self) -> Vec<(String, String)> {
        self.nodes
            .iter()
            .filter_map(|node| match &node.kind {
                Kind::Start { message: Some(name) } => Some((name.clone(), node.id.clone())),
                _ => None,
            })
            .collect()
    }
}

/// Names that the process itself gives to variables: they decide how names with blanks are read.
fn names(process: &Process) -> Names {
    let mut names = Names::from(["run", "variables", "errorCode", "errorMessage"].map(str::to_owned));
    for node in &process.scope.nodes {
        let extensions = &node.extensions;
        for mapping in extensions.inputs.iter().chain(&extensions.outputs) {
            names.extend(mapping.target.text.split('.').next().map(|name| name.trim().to_owned()));
        }
        names.extend(extensions.headers.iter().filter(|h| h.key == "resultVariable").map(|h| h.value.text.clone()));
    }
    names
}

fn strip(text: &str) -> &str {
    text.strip_prefix('=').unwrap_or(text)
}

struct Compiler<'a> {
    definitions: &'a Definitions,
    process: &'a Process,
    names: Names,
    errors: Vec<Error>,
}

impl Compiler<'_> {
    fn refuse(&mut self, element: &str, line: u32, message: String) {
        self.errors.push(Error { process: self.process.id.clone(), element: element.to_owned(), line, message });
    }

    fn expression(&mut self, element: &str, text: &str, at: &Text) -> Option<Expr> {
        match feel::compile(text, &self.names) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.refuse(element, at.at.line, format!("`{text}` is no expression: {error}"));
                None
            }
        }
    }

    fn source(&mut self, element: &str, text: &Text) -> Option<Source> {
        match text.text.strip_prefix('=') {
            Some(expression) => self.expression(element, expression, text).map(Source::Feel),
            None => Some(Source::Literal(text.text.clone())),
        }
    }

    fn mappings(&mut self, element: &str, mappings: &[crate::model::Mapping]) -> Vec<Mapping> {
        mappings
            .iter()
            .filter_map(|mapping| {
                let source = self.source(element, &mapping.source)?;
                let target: Vec<_> = mapping.target.text.split('.').map(|name| name.trim().to_owned()).collect();
                if target.iter().any(String::is_empty) {
                    let message =
                        format!("`{}` is no target of a mapping: write a name or names with dots", mapping.target.text);
                    self.refuse(element, mapping.target.at.line, message);
                    return None;
                }
                Some(Mapping { source, target })
            })
            .collect()
    }

    fn node(&mut self, node: &ModelNode) -> Option<Node> {
        let kind = self.kind(node);
        Some(Node {
            id: node.id.clone(),
            name: node.name.clone(),
            element: node.element.clone(),
            kind: kind?,
            incoming: node.incoming.clone(),
            outgoing: node.outgoing.clone(),
            default: node.default.or_else(|| self.implicit_default(node)),
            boundaries: node.boundaries.clone(),
            inputs: self.mappings(&node.id, &node.extensions.inputs),
            outputs: self.mappings(&node.id, &node.extensions.outputs),
        })
    }

    /// S5: exactly one unconditioned flow and no default acts as default; more are refused.
    fn implicit_default(&mut self, node: &ModelNode) -> Option<usize> {
        if !matches!(node.kind, NodeKind::ExclusiveGateway) {
            return None;
        }
        let open = |flow: &&usize| self.process.scope.flows.get(**flow).is_some_and(|flow| flow.condition.is_none());
        let unconditioned: Vec<usize> = node.outgoing.iter().filter(open).copied().collect();
        if unconditioned.len() > 1 {
            let message = "two or more of its flows have no condition: give them conditions".to_owned();
            self.refuse(&node.id, node.at.line, message);
        }
        unconditioned.first().copied()
    }

    fn kind(&mut self, node: &ModelNode) -> Option<Kind> {
        match &node.kind {
            NodeKind::Start(StartTrigger::None) => Some(Kind::Start { message: None }),
            NodeKind::Start(StartTrigger::Message { message }) => {
                let name = message.and_then(|ix| self.definitions.messages.get(ix)).and_then(|m| m.name.clone());
                match name.filter(|name| !name.is_empty()) {
                    Some(name) => Some(Kind::Start { message: Some(name) }),
                    None => self.unsupported(node, "a message start needs a message with a name"),
                }
            }
            NodeKind::End(EndResult::None) => Some(Kind::End),
            NodeKind::End(EndResult::Error { error }) => Some(Kind::ErrorEnd { code: self.code(*error) }),
            NodeKind::ExclusiveGateway => Some(Kind::ExclusiveGateway),
            NodeKind::ServiceTask => self.task(node),
            NodeKind::Boundary { trigger: BoundaryTrigger::Error { error }, host, .. } => {
                self.host(node, *host)?;
                Some(Kind::ErrorBoundary { code: self.code(*error) })
            }
            NodeKind::Boundary { trigger: BoundaryTrigger::Timer(timer), host, interrupting } => {
                self.host(node, *host)?;
                let (date, text) = match timer {
                    Timer::Date(text) => (true, text),
                    Timer::Duration(text) => (false, text),
                    Timer::Cycle(_) => return self.unsupported(node, "a cycle on a boundary event is not built yet"),
                    Timer::Missing => return self.unsupported(node, "it has no date and no duration"),
                };
                let text = self.source(&node.id, text)?;
                Some(Kind::TimerBoundary { interrupting: *interrupting, date, text })
            }
            NodeKind::Unsupported { tier, what, .. } => {
                self.unsupported(node, &format!("`{what}` is not run by this engine (tier {tier})"))
            }
        }
    }

    fn unsupported(&mut self, node: &ModelNode, message: &str) -> Option<Kind> {
        self.refuse(&node.id, node.at.line, message.to_owned());
        None
    }

    fn host(&mut self, node: &ModelNode, host: usize) -> Option<()> {
        match self.process.scope.nodes.get(host) {
            Some(host) if matches!(host.kind, NodeKind::ServiceTask) => Some(()),
            _ => {
                let message = "a boundary event is run on service tasks only";
                self.unsupported(node, message);
                None
            }
        }
    }

    fn code(&mut self, error: Option<usize>) -> Option<String> {
        let code = error.and_then(|ix| self.definitions.errors.get(ix)).and_then(|error| error.code.clone());
        code.filter(|code| !code.is_empty())
    }

    fn task(&mut self, node: &ModelNode) -> Option<Kind> {
        let Some(definition) = &node.extensions.task else {
            return self.unsupported(node, "it has no zeebe:taskDefinition: give it a job type");
        };
        let r#type = self.source(&node.id, &definition.r#type);
        let retries = match &definition.retries {
            Some(text) => Some(self.source(&node.id, text)?),
            None => None,
        };
        let mut task = Task {
            r#type: r#type?,
            retries,
            headers: Vec::new(),
            result_expression: None,
            error_expression: None,
            result_variable: None,
        };
        for header in &node.extensions.headers {
            let text = &header.value.text;
            match header.key.as_str() {
                "resultExpression" => task.result_expression = self.expression(&node.id, strip(text), &header.value),
                "errorExpression" => task.error_expression = self.expression(&node.id, strip(text), &header.value),
                "resultVariable" if !text.is_empty() => {
                    task.result_variable = Some(text.clone());
                }
                "resultVariable" => {}
                key => {
                    let value = self.source(&node.id, &header.value)?;
                    task.headers.push((key.to_owned(), value));
                }
            }
        }
        Some(Kind::ServiceTask(Box::new(task)))
    }
}
