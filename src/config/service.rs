//! The Collector's sections and `service`: what is defined, what refers to what, what runs.
//!
//! Duty: codes 0005 to 0014 and 0019, and the rules N6 to N8. Guarantee: a pipeline that is handed out has at least one
//! receiver and one exporter, and all it names exists. Left to others: the bodies (each module's `Config::read`).

use std::collections::{BTreeMap, BTreeSet};

use super::components::{Definition, Id, definitions, problem};
use super::registry::{ComponentKind, Standing};
use crate::yaml::{Code, Mark, Problems, Section, nearest};
use crate::{export, graph, process, receive, telemetry};

/// What to do about known components that are not built (`--unsupported`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsupported {
    /// N8: skip receivers and extensions with a warning, refuse the rest.
    #[default]
    Skip,
    /// Refuse all.
    Error,
}

/// What the Collector's sections come to.
pub(super) struct Service {
    pub(super) receivers: Vec<receive::Config>,
    pub(super) graph: graph::Config,
    pub(super) health: Vec<telemetry::HealthCheck>,
}

/// A component that a pipeline or `service::extensions` names.
struct Named {
    id: Id,
    mark: Mark,
}

/// One entry of `service::pipelines`.
struct Written {
    id: Id,
    path: String,
    mark: Mark,
    runs: bool,
    /// Whether the lists have items, be they wrong: those have been reported.
    has_receivers: bool,
    has_exporters: bool,
    receivers: Vec<Named>,
    processors: Vec<Named>,
    exporters: Vec<Named>,
}

impl Written {
    fn of(&self, kind: ComponentKind) -> &[Named] {
        match kind {
            ComponentKind::Receiver => &self.receivers,
            ComponentKind::Processor => &self.processors,
            ComponentKind::Exporter => &self.exporters,
            ComponentKind::Connector | ComponentKind::Extension => &[],
        }
    }
}

const IN_PIPELINES: [ComponentKind; 3] = [ComponentKind::Receiver, ComponentKind::Processor, ComponentKind::Exporter];

pub(super) fn read(
    root: &Section<'_>,
    service: &Section<'_>,
    unsupported: Unsupported,
    problems: &Problems,
) -> Service {
    let kinds = [
        ComponentKind::Receiver,
        ComponentKind::Processor,
        ComponentKind::Exporter,
        ComponentKind::Connector,
        ComponentKind::Extension,
    ];
    let defined: BTreeMap<ComponentKind, Vec<Definition<'_>>> =
        kinds.into_iter().map(|kind| (kind, definitions(root, kind, problems))).collect();
    let pipelines = pipelines(service, problems);
    let listed = extensions(service, &defined[&ComponentKind::Extension], problems);
    let check = Check { defined: &defined, pipelines: &pipelines, listed: &listed, unsupported, problems };
    check.something_is_defined(root, service);
    check.references();
    let skipped = check.standings();
    check.unused();
    Service { receivers: check.receivers(root), graph: check.graph(root, &skipped), health: check.health(root) }
}

fn pipelines(service: &Section<'_>, problems: &Problems) -> Vec<Written> {
    let section = service.block("pipelines");
    let mut found: Vec<Written> = Vec::new();
    for entry in section.entries() {
        let block = section.block_of(entry);
        let id = match Id::parse(&entry.key) {
            Ok(id) => id,
            Err(text) => {
                problem(problems, Code::BadPipelineId, section.path(), text, &entry.mark, None);
                list_keys(&block, problems);
                continue;
            }
        };
        if found.iter().any(|earlier| earlier.id == id) {
            problem(problems, Code::DuplicateId, section.path(), format!("duplicate id \"{id}\""), &entry.mark, None);
        }
        let signals = ["traces", "metrics", "logs", "profiles"];
        if !signals.contains(&id.kind.as_str()) {
            let help = nearest(&id.kind, signals).map(|near| format!("did you mean \"{near}\"?"));
            let text = format!("unknown signal \"{}\"", id.kind);
            problem(problems, Code::BadPipelineId, block.path(), text, &entry.mark, help);
            list_keys(&block, problems);
            continue;
        }
        let runs = id.kind == "traces";
        if !runs {
            let text = format!("is not run: weavergen takes traces, not {}", id.kind);
            problem(problems, Code::SignalNotRun, block.path(), text, &entry.mark, None);
        }
        let [receivers, processors, exporters] = list_keys(&block, problems);
        let (has_receivers, has_exporters) = (block.has_items("receivers"), block.has_items("exporters"));
        let (path, mark) = (block.path().to_owned(), entry.mark.clone());
        found.push(Written { id, path, mark, runs, has_receivers, has_exporters, receivers, processors, exporters });
    }
    found
}

fn list_keys(block: &Section<'_>, problems: &Problems) -> [Vec<Named>; 3] {
    ["receivers", "processors", "exporters"].map(|key| named(block, key, problems))
}

fn named(section: &Section<'_>, key: &'static str, problems: &Problems) -> Vec<Named> {
    let texts = section.located_texts(key).unwrap_or_default();
    let read = |(text, mark): (String, Mark)| match Id::parse(&text) {
        Ok(id) => Some(Named { id, mark }),
        Err(text) => {
            problem(problems, Code::BadId, &format!("{}::{key}", section.path()), text, &mark, None);
            None
        }
    };
    texts.into_iter().filter_map(read).collect()
}

fn extensions(service: &Section<'_>, defined: &[Definition<'_>], problems: &Problems) -> Vec<Named> {
    let listed = named(service, "extensions", problems);
    for extension in &listed {
        if !defined.iter().any(|known| known.id == extension.id) {
            let near = nearest_id(&extension.id, defined);
            let text = format!("references extension \"{}\" which is not configured", extension.id);
            problem(problems, Code::Dangling, "service::extensions", text, &extension.mark, near);
        }
    }
    for extension in defined {
        if !listed.iter().any(|used| used.id == extension.id) {
            let text = "is defined, not listed in service::extensions, and does not run";
            problem(problems, Code::ExtensionNotListed, &extension.path, text, &extension.entry.mark, None);
        }
    }
    listed
}

fn nearest_id(id: &Id, defined: &[Definition<'_>]) -> Option<String> {
    let known: Vec<String> = defined.iter().map(|definition| definition.id.to_string()).collect();
    nearest(&id.to_string(), known.iter().map(String::as_str)).map(|near| format!("did you mean \"{near}\"?"))
}

struct Check<'c, 'a> {
    defined: &'c BTreeMap<ComponentKind, Vec<Definition<'a>>>,
    pipelines: &'c [Written],
    listed: &'c [Named],
    unsupported: Unsupported,
    problems: &'c Problems,
}

impl<'a> Check<'_, 'a> {
    /// 0009 to 0012
    fn something_is_defined(&self, root: &Section<'_>, service: &Section<'_>) {
        let connectors = !self.defined[&ComponentKind::Connector].is_empty();
        for (kind, code, text) in [
            (ComponentKind::Receiver, Code::NoReceivers, "no receivers configured"),
            (ComponentKind::Exporter, Code::NoExporters, "no exporters configured"),
        ] {
            let section = root.block(kind.section());
            // A section that is wrong otherwise has said so.
            if section.entries().is_empty() && !(connectors && section.is_given()) {
                problem(self.problems, code, "", text, section.mark(), None);
            }
        }
        let pipelines = service.block("pipelines");
        if pipelines.entries().is_empty() {
            let text = "service must have at least one pipeline";
            let help = Some("add e.g. `service: {pipelines: {traces: {receivers: [otlp], exporters: [weavergen]}}}`");
            problem(self.problems, Code::NoPipelines, "", text, pipelines.mark(), help.map(str::to_owned));
        }
        for pipeline in self.pipelines {
            for (given, word) in [(pipeline.has_receivers, "receiver"), (pipeline.has_exporters, "exporter")] {
                if !given {
                    let text = format!("must have at least one {word}");
                    problem(self.problems, Code::PipelineLacks, &pipeline.path, text, &pipeline.mark, None);
                }
            }
        }
    }

    /// 0013 and 0014
    fn references(&self) {
        for pipeline in self.pipelines {
            for kind in IN_PIPELINES {
                for (i, named) in pipeline.of(kind).iter().enumerate() {
                    if self.definition(kind, &named.id).is_none() {
                        let text = format!("references {} \"{}\" which is not configured", kind.word(), named.id);
                        let near = nearest_id(&named.id, &self.defined[&kind]);
                        problem(self.problems, Code::Dangling, &pipeline.path, text, &named.mark, near);
                    }
                    let again = pipeline.of(kind)[..i].iter().any(|earlier| earlier.id == named.id);
                    if again && kind == ComponentKind::Processor {
                        let text = format!("references processor \"{}\" multiple times", named.id);
                        problem(self.problems, Code::ProcessorTwice, &pipeline.path, text, &named.mark, None);
                    }
                }
            }
        }
    }

    /// The definition a pipeline means: a connector stands as receiver and as exporter.
    fn definition(&self, kind: ComponentKind, id: &Id) -> Option<&Definition<'a>> {
        let find = |kind: ComponentKind| self.defined[&kind].iter().find(|definition| definition.id == *id);
        let connects = matches!(kind, ComponentKind::Receiver | ComponentKind::Exporter);
        find(kind).or_else(|| if connects { find(ComponentKind::Connector) } else { None })
    }

    /// Pipelines that run and name the component.
    fn users(&self, definition: &Definition<'_>) -> impl Iterator<Item = &Written> {
        let kind = definition.kind;
        let id = definition.id.clone();
        let kinds: &[ComponentKind] = match kind {
            ComponentKind::Connector => &[ComponentKind::Receiver, ComponentKind::Exporter],
            ComponentKind::Receiver => &[ComponentKind::Receiver],
            ComponentKind::Processor => &[ComponentKind::Processor],
            ComponentKind::Exporter => &[ComponentKind::Exporter],
            ComponentKind::Extension => &[],
        };
        self.pipelines
            .iter()
            .filter(move |pipeline| kinds.iter().any(|kind| pipeline.of(*kind).iter().any(|named| named.id == id)))
    }

    fn runs(&self, definition: &Definition<'_>) -> bool {
        match definition.kind {
            ComponentKind::Extension => self.listed.iter().any(|named| named.id == definition.id),
            _ => self.users(definition).any(|pipeline| pipeline.runs),
        }
    }

    /// N7: what only pipelines of other signals use need not be known.
    fn is_only_elsewhere(&self, definition: &Definition<'_>) -> bool {
        !self.runs(definition) && self.users(definition).next().is_some()
    }

    /// 0007, 0008 and N8. Returns the receivers that are skipped.
    fn standings(&self) -> BTreeSet<Id> {
        let mut skipped = BTreeSet::new();
        for definition in self.defined.values().flatten() {
            if self.is_only_elsewhere(definition) {
                continue;
            }
            let kind = definition.kind;
            let word = definition.id.kind.as_str();
            let standing = kind.standing(word);
            if kind.resolve(word) != word && standing == Standing::Built {
                let text = format!("\"{word}\" is an old name; write \"{}\"", kind.resolve(word));
                problem(self.problems, Code::DeprecatedAlias, &definition.path, text, &definition.entry.mark, None);
            }
            match standing {
                Standing::Built => {}
                Standing::Unknown => self.unknown_type(definition),
                Standing::Coming | Standing::Foreign => {
                    if self.not_built(definition, standing) {
                        skipped.insert(definition.id.clone());
                    }
                }
            }
        }
        skipped
    }

    fn unknown_type(&self, definition: &Definition<'_>) {
        let (kind, word) = (definition.kind, definition.id.kind.as_str());
        let known = kind.known();
        let list = known.join(", ");
        let text = format!("unknown type \"{word}\" for id \"{}\" (known: {list})", definition.id);
        let help = if word == "logging" && kind == ComponentKind::Exporter {
            Some("use debug".to_owned())
        } else {
            nearest(word, known).map(|near| format!("did you mean \"{near}\"?"))
        };
        problem(self.problems, Code::UnknownType, kind.section(), text, &definition.entry.mark, help);
    }

    /// Whether the component is skipped; else it is refused, unless nothing uses it.
    fn not_built(&self, definition: &Definition<'_>, standing: Standing) -> bool {
        let kind = definition.kind;
        let yet = if standing == Standing::Coming { " yet" } else { "" };
        let text = format!("\"{}\" is not supported by weavergen{yet}", definition.id.kind);
        let strict = self.unsupported == Unsupported::Error;
        let skip = match kind {
            ComponentKind::Extension => !strict,
            // Nothing uses it: 0105 says so.
            _ if !self.runs(definition) => !strict,
            ComponentKind::Receiver => !strict && self.users(definition).all(|pipeline| self.has_receiver(pipeline)),
            ComponentKind::Processor | ComponentKind::Exporter | ComponentKind::Connector => false,
        };
        let mark = &definition.entry.mark;
        if !skip {
            let help = (!strict && kind == ComponentKind::Receiver)
                .then(|| "a pipeline it feeds has no other receiver; add an otlp receiver".to_owned());
            problem(self.problems, Code::NotSupported, &definition.path, text, mark, help);
        } else if self.runs(definition) {
            problem(self.problems, Code::Skipped, &definition.path, format!("{text} and is skipped"), mark, None);
        }
        skip
    }

    fn has_receiver(&self, pipeline: &Written) -> bool {
        !pipeline.runs
            || pipeline.receivers.iter().any(|named| {
                self.defined[&ComponentKind::Receiver].iter().any(|definition| definition.id == named.id)
                    && ComponentKind::Receiver.standing(&named.id.kind) == Standing::Built
            })
    }

    /// 0105
    fn unused(&self) {
        for definition in self.defined.values().flatten() {
            let used = self.users(definition).next().is_some();
            if definition.kind != ComponentKind::Extension && !used {
                let text = "is defined and no pipeline uses it";
                problem(self.problems, Code::NotUsed, &definition.path, text, &definition.entry.mark, None);
            }
        }
    }

    /// Definitions of `kind` whose type is built, with their bodies. Those that only other signals use are left out.
    fn bodies(&self, root: &Section<'a>, kind: ComponentKind) -> Vec<(&Definition<'a>, Section<'a>)> {
        let section = root.block(kind.section());
        section.entries();
        self.defined[&kind]
            .iter()
            .filter(|definition| kind.standing(&definition.id.kind) == Standing::Built)
            .filter(|definition| !self.is_only_elsewhere(definition))
            .map(|definition| (definition, section.block_of(definition.entry)))
            .collect()
    }

    fn receivers(&self, root: &Section<'a>) -> Vec<receive::Config> {
        let mut receivers = Vec::new();
        for (definition, body) in self.bodies(root, ComponentKind::Receiver) {
            if definition.id.kind == "otlp" {
                let receiver = receive::Config::read(&definition.id.to_string(), &body);
                receivers.extend(self.runs(definition).then_some(receiver));
            }
        }
        receivers
    }

    fn graph(&self, root: &Section<'a>, skipped: &BTreeSet<Id>) -> graph::Config {
        let mut processors: BTreeMap<&Id, process::Config> = BTreeMap::new();
        for (definition, body) in self.bodies(root, ComponentKind::Processor) {
            let id = definition.id.to_string();
            let processor = match definition.id.kind.as_str() {
                "memory_limiter" => process::Config::memory_limiter(&id, &body),
                _ => process::Config::batch(&id, &body),
            };
            processors.insert(&definition.id, processor);
        }
        let mut exporters = Vec::new();
        for (definition, body) in self.bodies(root, ComponentKind::Exporter) {
            let id = definition.id.to_string();
            let exporter = match definition.id.kind.as_str() {
                "debug" => export::Config::debug(&id, &body),
                "nop" => export::Config::nop(&id),
                _ => export::Config::weavergen(&id, &body),
            };
            exporters.extend(self.runs(definition).then_some(exporter));
        }
        let ids = |list: &[Named]| {
            let mut ids: Vec<String> = Vec::new();
            for named in list.iter().filter(|named| !skipped.contains(&named.id)) {
                let id = named.id.to_string();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            ids
        };
        let pipeline = |written: &Written| graph::Pipeline {
            id: written.id.to_string(),
            receivers: ids(&written.receivers),
            processors: written.processors.iter().filter_map(|named| processors.get(&named.id).cloned()).collect(),
            exporters: ids(&written.exporters),
        };
        graph::Config { pipelines: self.pipelines.iter().filter(|p| p.runs).map(pipeline).collect(), exporters }
    }

    fn health(&self, root: &Section<'a>) -> Vec<telemetry::HealthCheck> {
        let bodies = self.bodies(root, ComponentKind::Extension);
        let read: BTreeMap<&Id, telemetry::HealthCheck> =
            bodies.iter().map(|(definition, body)| (&definition.id, telemetry::HealthCheck::read(body))).collect();
        // One that is listed twice is meant once, as a receiver is.
        let mut seen = BTreeSet::new();
        self.listed.iter().filter(|named| seen.insert(&named.id)).filter_map(|n| read.get(&n.id).cloned()).collect()
    }
}
