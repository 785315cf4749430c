//! A BPMN file as typed definitions.
//!
//! Duty: the types that `lint`, `core` and drawings read; [`parse`] makes them from bytes. Guarantee: order is document
//! order everywhere; every reference that resolves is an index, so readers never search; source bytes are kept. Left to
//! others: whether the process makes sense (`lint`), what expressions mean (`feel`).

use std::collections::BTreeMap;

use crate::diagnostic::{At, Diagnostic};

mod build;
mod census;
mod chars;
mod encoding;
mod event;
mod extensions;
mod hash;
mod mermaid;
mod references;
mod scope;
pub mod timer;
#[cfg(test)]
pub(crate) mod tests;
mod xml;

pub use census::census;
pub use hash::{exec_hash, version_hash};
pub use mermaid::{StateClass, mermaid, mermaid_of};

/// Reads a file. Errors: everything that keeps it from being a model, all at once (bpmn.md 2, 16: `xml-*`,
/// `namespace-unknown`, `duplicate-id`, `dangling-ref`, `flow-crosses-scope`); what can be judged on a model is left to
/// `lint`.
pub fn parse(source: &[u8]) -> Result<Definitions, Vec<Diagnostic>> {
    build::definitions(source)
}

/// The place of the `column`th character (from 1) of `text` in the file it came from; of the text itself when the file
/// does not hold it there. For many places of one file: [`Locator`].
pub fn place_in(definitions: &Definitions, text: &Text, column: u32) -> At {
    Locator::new(definitions).place(text, column)
}

/// Finds places inside texts of one file.
#[derive(Debug)]
pub struct Locator<'d>(Option<encoding::Places<'d>>);

impl<'d> Locator<'d> {
    /// Reads the file's lines once.
    pub fn new(definitions: &'d Definitions) -> Self {
        Self(encoding::decode(&definitions.source).ok())
    }

    /// As [`place_in`].
    pub fn place(&self, text: &Text, column: u32) -> At {
        let Some(places) = &self.0 else { return text.at };
        let start = places.byte_of(text.at.offset);
        let end = places.byte_of(text.at.offset.saturating_add(text.at.length));
        if text.at.line == 0 || start >= end {
            return text.at;
        }
        let byte = chars::walk(places.text(), start, end, column);
        let length = places.text()[byte..].chars().next().map_or(0, char::len_utf8);
        places.at(byte, (byte + length).min(end))
    }
}

/// Index of a node in [`Scope::nodes`] of the scope it lies in.
pub type NodeIx = usize;
/// Index of a flow in [`Scope::flows`] of the scope it lies in.
pub type FlowIx = usize;

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Definitions {
    /// The bytes as given.
    pub source: Vec<u8>,
    /// Processes in document order, executable or not.
    pub processes: Vec<Process>,
    /// Root messages by id, in document order.
    pub messages: Vec<Message>,
    /// Root errors by id.
    pub errors: Vec<ErrorDefinition>,
    /// Ids of elements that repeat nothing and lead nowhere executable (pools, artefacts, DI): kept for drawings.
    pub collaborations: Vec<Collaboration>,
    /// Whether there is a `BPMNDiagram`.
    pub has_diagram: bool,
    /// What reading noticed and could live with, e.g. `flow-ref-mismatch`; `lint` hands it on.
    pub findings: Vec<Diagnostic>,
}

impl Definitions {
    /// The bytes as given: serialising an untouched model returns them.
    pub fn source(&self) -> &[u8] {
        &self.source
    }
}

/// A pool's participant, drawing only.
#[derive(Clone, Debug, PartialEq)]
pub struct Collaboration {
    /// Its id.
    pub id: String,
    /// (participant id, name, process id if it has one).
    pub participants: Vec<(String, Option<String>, Option<String>)>,
    /// (message flow id, source, target).
    pub message_flows: Vec<(String, String, String)>,
}

/// A root `message`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// What correlates.
    pub name: Option<String>,
    /// `zeebe:subscription correlationKey`, text as written.
    pub correlation_key: Option<String>,
    /// Where.
    pub at: At,
}

/// A root `error`.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorDefinition {
    /// Its id.
    pub id: String,
    /// Its code.
    pub code: Option<String>,
    /// Where.
    pub at: At,
}

/// One `process`.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// `isExecutable`; absent = executable, `Some(false)` = a drawing.
    pub executable: Option<bool>,
    /// `zeebe:versionTag`.
    pub version_tag: Option<String>,
    /// `zeebe:properties`.
    pub properties: Vec<(String, String)>,
    /// What it says directly and we do not do yet, by local name, e.g. `executionListeners`, `correlationSubscription`.
    pub unsupported: BTreeMap<String, At>,
    /// What it contains.
    pub scope: Scope,
    /// Where.
    pub at: At,
}

impl Process {
    /// Whether it runs (bpmn.md 2).
    pub fn is_executable(&self) -> bool {
        self.executable != Some(false)
    }
}

/// Nodes and flows of a process or subprocess.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Flow nodes in document order.
    pub nodes: Vec<Node>,
    /// Sequence flows in document order.
    pub flows: Vec<Flow>,
}

impl Scope {
    /// The node called `id` in this scope (not in nested ones).
    pub fn node(&self, id: &str) -> Option<NodeIx> {
        self.nodes.iter().position(|node| node.id == id)
    }
}

/// A sequence flow.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Its id, or `auto:sequenceFlow:<n>`.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Where it begins.
    pub source: NodeIx,
    /// Where it ends.
    pub target: NodeIx,
    /// `conditionExpression`, text as written, with its place.
    pub condition: Option<Text>,
    /// Where.
    pub at: At,
}

/// Whether `text`, a literal, is to be rendered with a job's variables before it means anything.
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// A piece of text and where its first character is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// With references resolved; an element's content is trimmed, an attribute is as written.
    pub text: String,
    /// `language` of an expression, if it names one.
    pub language: Option<String>,
    /// Where the text begins.
    pub at: At,
}

impl Text {
    /// The FEEL after a leading `=`; `None` when the text is a literal.
    pub fn feel(&self) -> Option<&str> {
        self.text.strip_prefix('=')
    }

    /// The FEEL of a place where only an expression is legal (a condition): a leading `=` is dropped.
    pub fn expression(&self) -> &str {
        self.feel().unwrap_or(&self.text)
    }
}

/// A flow node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its id, or `auto:<localName>:<n>`.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Local name of the element, e.g. `serviceTask`.
    pub element: String,
    /// What it is.
    pub kind: NodeKind,
    /// Flows that end here, in document order.
    pub incoming: Vec<FlowIx>,
    /// Flows that begin here, in document order.
    pub outgoing: Vec<FlowIx>,
    /// `default` of a gateway or activity.
    pub default: Option<FlowIx>,
    /// Boundary events attached here, in document order.
    pub boundaries: Vec<NodeIx>,
    /// Extension elements of the `zeebe` namespace that we read.
    pub extensions: Extensions,
    /// What a drawing shows of it beyond its kind.
    pub drawing: Drawing,
    /// Where.
    pub at: At,
}

/// What a drawing shows of a node whatever its kind, built or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// Trigger or result of an event: local name of its definition without `EventDefinition`, e.g. `timer`;
    /// `multiple` when it has several.
    pub event: Option<String>,
    /// The activity a boundary event sits on, when it is one of the same scope.
    pub attached_to: Option<NodeIx>,
    /// `cancelActivity` of a boundary event, `isInterrupting` of the start of an event subprocess.
    pub interrupting: Option<bool>,
    /// `parallel`, `sequential` (multi-instance) or `standard`.
    pub repeats: Option<String>,
}

/// What a node is. Kinds that the machine does not run yet are `Unsupported`: `lint` refuses them by name.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// A start event.
    Start(StartTrigger),
    /// An end event.
    End(EndResult),
    /// A boundary event.
    Boundary {
        /// The activity it sits on.
        host: NodeIx,
        /// `cancelActivity`.
        interrupting: bool,
        /// What sets it off.
        trigger: BoundaryTrigger,
    },
    /// A service task: a job.
    ServiceTask,
    /// An exclusive gateway.
    ExclusiveGateway,
    /// Anything else: kept and drawn.
    Unsupported {
        /// Tier of bpmn.md 3: 1, 2 or 3; 0 = an element that the standard does not know.
        tier: u8,
        /// What rule `unsupported:` names, e.g. `userTask`, `messageIntermediateCatchEvent`, `timerStartEvent`.
        what: String,
        /// Nodes and flows inside, for subprocesses.
        inner: Option<Box<Scope>>,
    },
}

/// How a process starts.
#[derive(Clone, Debug, PartialEq)]
pub enum StartTrigger {
    /// By a caller.
    None,
    /// By a message of this name.
    Message {
        /// Index into [`Definitions::messages`], `None` when it has no `messageRef`.
        message: Option<usize>,
    },
}

/// What an end event does.
#[derive(Clone, Debug, PartialEq)]
pub enum EndResult {
    /// The token ends.
    None,
    /// A BPMN error is thrown.
    Error {
        /// Index into [`Definitions::errors`], `None` when it has no `errorRef`.
        error: Option<usize>,
    },
}

/// What sets off a boundary event.
#[derive(Clone, Debug, PartialEq)]
pub enum BoundaryTrigger {
    /// A BPMN error; `None` catches all.
    Error {
        /// Index into [`Definitions::errors`].
        error: Option<usize>,
    },
    /// A timer.
    Timer(Timer),
}

/// A timer's text: a literal, or FEEL after `=`.
#[derive(Clone, Debug, PartialEq)]
pub enum Timer {
    /// `timeDate`.
    Date(Text),
    /// `timeDuration`.
    Duration(Text),
    /// `timeCycle`.
    Cycle(Text),
    /// None of the three: `timer-unparsable`.
    Missing,
}

/// Extension elements that we read (bpmn.md 10).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extensions {
    /// `zeebe:taskDefinition`.
    pub task: Option<TaskDefinition>,
    /// `zeebe:taskHeaders`, in document order.
    pub headers: Vec<Header>,
    /// `zeebe:ioMapping` inputs, in document order.
    pub inputs: Vec<Mapping>,
    /// `zeebe:ioMapping` outputs, in document order.
    pub outputs: Vec<Mapping>,
    /// `zeebe:properties`.
    pub properties: Vec<(String, String)>,
    /// Extension elements of the `zeebe` namespace that are not built yet, by local name, e.g. `loopCharacteristics`.
    pub unsupported: BTreeMap<String, At>,
}

/// `zeebe:taskDefinition`.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDefinition {
    /// Job type, text or `=` FEEL.
    pub r#type: Text,
    /// Attempts in all, text or `=` FEEL; absent = 3.
    pub retries: Option<Text>,
}

/// One `zeebe:header`.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Its key.
    pub key: String,
    /// Literal, `=` FEEL, or template when it holds `{{`.
    pub value: Text,
}

/// One `zeebe:input` or `zeebe:output`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// `=` FEEL or a literal.
    pub source: Text,
    /// A name, may be dotted.
    pub target: Text,
}
