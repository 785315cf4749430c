//! Whole files in, models and refusals out.
//!
//! Duty: `parse` on good files and on each kind of broken file. Guarantee: none of it panics. Left to others: damage and the
//! reference files (`crate::claims`), single characters (`chars`), encodings (`encoding`).

use super::*;

pub(crate) const REPAIR: &str = include_str!("../../../tests/data/bpmn/repair.bpmn");

/// `inner` as the content of an executable process `p`, with the namespaces of bpmn.md 2 and no prefix for the model.
pub(crate) fn process(inner: &str) -> String {
    file(&format!("<process id=\"p\" isExecutable=\"true\">{inner}</process>"))
}

/// `inner` as the content of `definitions`.
pub(crate) fn file(inner: &str) -> String {
    format!(
        "<definitions xmlns=\"http://www.omg.org/spec/BPMN/20100524/MODEL\" \
         xmlns:zeebe=\"http://camunda.org/schema/zeebe/1.0\" xmlns:own=\"urn:own\" xmlns:other=\"urn:other\" \
         targetNamespace=\"urn:own\">\n{inner}\n</definitions>"
    )
}

fn good(file: &str) -> Definitions {
    parse(file.as_bytes()).unwrap_or_else(|errors| panic!("{}", errors[0]))
}

/// `rule line:column` of each error.
fn bad(file: &str) -> Vec<String> {
    let errors = parse(file.as_bytes()).expect_err("refused");
    errors.iter().map(|error| format!("{} {}:{}", error.rule, error.at.line, error.at.column)).collect()
}

#[test]
fn a_process_is_read_whole() {
    let definitions = good(REPAIR);
    assert_eq!(definitions.source(), REPAIR.as_bytes());
    assert!(definitions.has_diagram && definitions.findings.is_empty());
    let process = &definitions.processes[0];
    assert_eq!((process.id.as_str(), process.version_tag.as_deref()), ("repair", Some("v1")));
    assert!(process.is_executable());
    let scope = &process.scope;
    let ids: Vec<_> = scope.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["fired", "render", "verify", "slow", "broken", "fixed", "done", "failed"]);
    let kinds: Vec<_> = scope.nodes.iter().map(|node| node.kind.clone()).collect();
    let text = |from: &str| {
        let offset = REPAIR.find(from).unwrap();
        let before = &REPAIR[..offset];
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() as u32 + 1;
        Text { text: from.to_owned(), language: None, at: At { offset, length: from.len(), line, column } }
    };
    assert_eq!(
        kinds,
        [
            NodeKind::Start(StartTrigger::Message { message: Some(0) }),
            NodeKind::ServiceTask,
            NodeKind::ServiceTask,
            NodeKind::Boundary {
                host: 2,
                interrupting: true,
                trigger: BoundaryTrigger::Timer(Timer::Duration(text("PT10M"))),
            },
            NodeKind::Boundary { host: 2, interrupting: true, trigger: BoundaryTrigger::Error { error: Some(0) } },
            NodeKind::ExclusiveGateway,
            NodeKind::End(EndResult::None),
            NodeKind::End(EndResult::Error { error: Some(0) }),
        ]
    );
    assert_eq!(definitions.messages[0].name.as_deref(), Some("weavergen.gate"));
    assert_eq!(definitions.errors[0].code.as_deref(), Some("GATE_FAILED"));
    assert_eq!(scope.nodes[2].boundaries, [3, 4]);
    assert_eq!(scope.nodes[5].default, Some(4));
    assert_eq!(scope.nodes[5].outgoing, [3, 4]);
    assert_eq!(scope.nodes[7].incoming, [4, 5, 6]);
    assert_eq!(scope.flows[3].condition, Some(text("= verdict = \"pass\"")));
    let render = &scope.nodes[1].extensions;
    assert_eq!(render.task.as_ref().unwrap().r#type, text("codegen"));
    assert_eq!(render.task.as_ref().unwrap().retries.as_ref().unwrap().text, "2");
    assert_eq!((render.inputs[0].source.clone(), render.outputs.len()), (text("= labels.service"), 1));
    let headers: Vec<_> = render.headers.iter().map(|h| (h.key.as_str(), h.value.text.as_str())).collect();
    assert_eq!(headers, [("target", "greet"), ("output", "out/{{ service }}")]);
    let at = scope.nodes[6].at;
    assert!(REPAIR[at.offset..at.offset + at.length].starts_with("<bpmn:endEvent id=\"done\""));
    assert!(REPAIR[at.offset..at.offset + at.length].ends_with("</bpmn:endEvent>"));
}

#[test]
fn namespaces_go_by_uri_and_prefixes_of_references_are_dropped() {
    let foreign = good(&process(
        "<startEvent id='s'/><other:task id='t'/><endEvent id='e'/>\
         <sequenceFlow id='f' sourceRef='own:s' targetRef='other:e'/>",
    ));
    let scope = &foreign.processes[0].scope;
    assert_eq!(scope.nodes.len(), 2, "an element of another namespace is no node unless a flow leads to it");
    assert_eq!((scope.flows[0].source, scope.flows[0].target), (0, 1));
    let outside = "<collaboration id='c'><participant id='a' processRef='other:gone'/></collaboration>";
    assert_eq!(good(&file(outside)).collaborations[0].participants[0].2.as_deref(), Some("other:gone"));
    assert_eq!(bad(&file(&outside.replace("other:", "own:"))), ["dangling-ref 2:55"]);
}

#[test]
fn what_is_run_refers_to_nothing_outside_the_file() {
    let task = "<startEvent id='s'/><serviceTask id='a'/><sequenceFlow id='f' sourceRef='s' targetRef='a'/>";
    let with = |event: &str| process(&format!("{task}\n{event}"));
    for event in [
        "<boundaryEvent id='b' attachedToRef='a'><errorEventDefinition errorRef='other:E1'/></boundaryEvent>",
        "<boundaryEvent id='b' attachedToRef='other:gone'><errorEventDefinition/></boundaryEvent>",
        "<startEvent id='b'><eventDefinitionRef>other:Timer1</eventDefinitionRef></startEvent>",
        "<endEvent id='b'><eventDefinitionRef>other:Stop</eventDefinitionRef></endEvent>",
        "<startEvent id='b'><messageEventDefinition messageRef='other:m'/></startEvent>",
        "<exclusiveGateway id='b' default='other:gone'/>",
    ] {
        let found = bad(&with(event));
        assert!(found.len() == 1 && found[0].starts_with("dangling-ref 3:"), "{event}: {found:?}");
        good(&with(event).replace("isExecutable=\"true\"", "isExecutable=\"false\""));
    }
    let root = "<errorEventDefinition id='d' errorRef='other:E1'/>";
    let event = "<boundaryEvent id='b' attachedToRef='a'><eventDefinitionRef>d</eventDefinitionRef></boundaryEvent>";
    let both = file(&format!("{root}<process id='p' isExecutable='true'>{task}{event}</process>"));
    assert_eq!(bad(&both), ["dangling-ref 2:40"]);
}

#[test]
fn elements_without_id_get_stable_ones_and_flows_keep_document_order() {
    let it = good(&process(
        "<task/><startEvent id='s'/><task/>\
         <sequenceFlow sourceRef='s' targetRef='auto:task:2'/><sequenceFlow sourceRef='s' targetRef='auto:task:1'/>",
    ));
    let scope = &it.processes[0].scope;
    let ids: Vec<_> = scope.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["auto:task:1", "s", "auto:task:2"]);
    let flows: Vec<_> = scope.flows.iter().map(|flow| (flow.id.as_str(), flow.target)).collect();
    assert_eq!(flows, [("auto:sequenceFlow:1", 2), ("auto:sequenceFlow:2", 0)]);
}

#[test]
fn event_definitions_at_the_root_are_inlined_and_empty_expressions_are_absent() {
    let it = good(&file(
        "<error id='x' errorCode='X'/><errorEventDefinition id='d' errorRef='x'/>\
         <timerEventDefinition id='t'><timeDate> </timeDate><timeDuration>PT1S</timeDuration></timerEventDefinition>\
         <process id='p'><serviceTask id='a'/><boundaryEvent id='b' attachedToRef='a'>\
         <eventDefinitionRef>t</eventDefinitionRef></boundaryEvent><endEvent id='e'>\
         <eventDefinitionRef>own:d</eventDefinitionRef></endEvent><sequenceFlow id='f' sourceRef='a' targetRef='e'>\
         <conditionExpression> <!-- none --> </conditionExpression></sequenceFlow></process>",
    ));
    let scope = &it.processes[0].scope;
    assert_eq!(it.processes[0].executable, None);
    assert_eq!(scope.nodes[2].kind, NodeKind::End(EndResult::Error { error: Some(0) }));
    let NodeKind::Boundary { trigger: BoundaryTrigger::Timer(Timer::Duration(text)), .. } = &scope.nodes[1].kind else {
        panic!("{:?}", scope.nodes[1].kind)
    };
    assert_eq!(text.text, "PT1S");
    assert_eq!(scope.flows[0].condition, None);
}

#[test]
fn what_is_not_built_is_kept_by_full_name_and_tier() {
    let named = |inner: &str| {
        let it = good(&process(inner));
        it.processes[0].scope.nodes.iter().find_map(|node| match &node.kind {
            NodeKind::Unsupported { tier, what, .. } => Some((*tier, what.clone())),
            _ => None,
        })
    };
    for (tier, what, inner) in [
        (1, "userTask", "<userTask id='a'/>"),
        (1, "timerStartEvent", "<startEvent id='a'><timerEventDefinition/></startEvent>"),
        (
            1,
            "messageIntermediateCatchEvent",
            "<intermediateCatchEvent id='a'><messageEventDefinition/></intermediateCatchEvent>",
        ),
        (2, "compensateEndEvent", "<endEvent id='a'><compensateEventDefinition/></endEvent>"),
        (3, "multipleStartEvent", "<startEvent id='a'><timerEventDefinition/><signalEventDefinition/></startEvent>"),
        (3, "complexGateway", "<complexGateway id='a'/>"),
        (
            1,
            "multiInstanceLoopCharacteristics",
            "<serviceTask id='a'><multiInstanceLoopCharacteristics/></serviceTask>",
        ),
        (3, "startQuantity", "<serviceTask id='a' startQuantity='2'/>"),
        (1, "eventSubProcess", "<subProcess id='a' triggeredByEvent='true'/>"),
        (0, "own", "<startEvent id='s'/><own id='a'/><sequenceFlow id='f' sourceRef='s' targetRef='a'/>"),
    ] {
        assert_eq!(named(inner), Some((tier, what.to_owned())), "{inner}");
    }
    let nested = good(&process(
        "<subProcess id='a'><startEvent id='b'/><task id='c'/>\
         <sequenceFlow id='f' sourceRef='b' targetRef='c'/></subProcess>",
    ));
    let NodeKind::Unsupported { inner: Some(inner), .. } = &nested.processes[0].scope.nodes[0].kind else { panic!() };
    assert_eq!((inner.nodes.len(), inner.flows.len()), (2, 1));
    let extended = good(&process(
        "<serviceTask id='a'><extensionElements><zeebe:executionListeners/></extensionElements></serviceTask>",
    ));
    assert!(extended.processes[0].scope.nodes[0].extensions.unsupported.contains_key("executionListeners"));
}

#[test]
fn broken_xml_is_refused_at_its_place() {
    for (expected, text) in [
        ("xml-malformed 1:1", ""),
        ("xml-malformed 1:1", "nothing"),
        ("xml-malformed 1:7", "<a><b></a>"),
        ("xml-malformed 1:1", "<a>"),
        ("xml-malformed 1:5", "<a/><b/>"),
        ("xml-malformed 1:13", "<a x=\"1\" x=\"2\"/>"),
        ("xml-malformed 1:8", "<a x=\"a<b\"/>"),
        ("xml-malformed 1:4", "<a>&nbsp;</a>"),
        ("xml-malformed 1:4", "<a>\u{1}</a>"),
        ("xml-malformed 1:1", "<x:a/>"),
        ("xml-doctype 1:1", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
        ("namespace-unknown 1:1", "<definitions/>"),
        ("namespace-unknown 1:1", "<definitions xmlns='http://www.omg.org/bpmn20'/>"),
        ("xml-encoding 1:1", "<?xml version='1.0' encoding='x-own'?><a/>"),
    ] {
        assert_eq!(bad(text)[0], expected, "{text}");
    }
    let raw = process(
        "<startEvent id='s'/><task id='t'/><sequenceFlow id='f' sourceRef='s' targetRef='t'>\n\
         <conditionExpression>= a < b</conditionExpression></sequenceFlow>",
    );
    assert_eq!(bad(&raw), ["xml-malformed 3:26"]);
    assert!(parse(raw.as_bytes()).unwrap_err()[0].message.contains("&lt;"));
}

#[test]
fn files_beyond_a_limit_are_refused() {
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert_eq!(bad(&deep(256)), ["namespace-unknown 1:1"]);
    assert_eq!(bad(&deep(257)), ["xml-limit 1:769"]);
    assert!(bad(&format!("<a>{}</a>", "<b/>".repeat(199_999)))[0].starts_with("namespace-unknown"));
    assert!(bad(&format!("<a>{}</a>", "<b/>".repeat(200_000)))[0].starts_with("xml-limit"));
    assert!(bad(&format!("<a b='{}'/>", "x".repeat(1 << 20)))[0].starts_with("namespace-unknown"));
    assert_eq!(bad(&format!("<a b='{}'/>", "x".repeat((1 << 20) + 1))), ["xml-limit 1:7"]);
    assert_eq!(bad(&format!("<a id='{}'/>", "x".repeat(513))), ["xml-limit 1:8"]);
    assert_eq!(bad(&" ".repeat((16 << 20) + 1)), ["xml-limit 1:1"]);
}

#[test]
fn the_same_file_in_another_encoding_is_the_same_model() {
    let text = REPAIR.replace("name=\"Render\"", "name=\"Rendu déjà\"");
    let utf8 = good(&text);
    let declared = |name: &str| text.replace("encoding=\"UTF-8\"", &format!("encoding=\"{name}\""));
    let single = |name: &str| declared(name).chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<u8>>();
    let wide = |big: bool| {
        let units: Vec<u16> = std::iter::once(0xfeff).chain(declared("UTF-16").encode_utf16()).collect();
        units.iter().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect::<Vec<u8>>()
    };
    for bytes in [single("ISO-8859-1"), single("windows-1252"), wide(true), wide(false)] {
        let it = parse(&bytes).unwrap();
        assert_eq!(it.source(), bytes);
        assert_eq!(exec_hash(&it), exec_hash(&utf8));
        let nodes = it.processes[0].scope.nodes.iter().zip(&utf8.processes[0].scope.nodes);
        for (node, expected) in nodes {
            assert_eq!(node.name, expected.name);
            assert_eq!((node.at.line, node.at.column), (expected.at.line, expected.at.column), "{}", node.id);
        }
        assert_eq!(census(&it), census(&utf8));
    }
}

#[test]
fn ids_and_references_are_refused_all_at_once_in_order() {
    let text = process(
        "<startEvent id='s'/>\n<task id='s'/>\n<task id='t' default='t'/>\n\
         <sequenceFlow id='f' sourceRef='s' targetRef='gone'/>\n<sequenceFlow id='g' sourceRef='s'/>\n\
         <endEvent id='e'><errorEventDefinition errorRef='no'/></endEvent>",
    );
    let found = bad(&text);
    let expected =
        ["duplicate-id 3:11", "dangling-ref 4:23", "dangling-ref 5:47", "dangling-ref 6:1", "dangling-ref 7:50"];
    assert_eq!(found, expected);
    let errors = parse(text.as_bytes()).unwrap_err();
    assert_eq!(errors[0].related.len(), 1, "both places are named");
    assert_eq!(errors[2].element.as_deref(), Some("f"));
    assert!(errors[2].fix.contains("`gone`") && errors[2].fix.contains("`f`"));
}

#[test]
fn a_flow_that_leaves_its_scope_is_refused() {
    let text = process(
        "<startEvent id='s'/><subProcess id='a'><task id='t'/></subProcess>\n\
         <sequenceFlow id='f' sourceRef='s' targetRef='t'/>",
    );
    assert_eq!(bad(&text), ["flow-crosses-scope 3:1"]);
    // Both ends decide where a flow belongs, not where it is written.
    let above = text.replace("sourceRef='s'", "sourceRef='t'");
    assert!(good(&above).processes[0].scope.flows.is_empty());
}

#[test]
fn children_that_contradict_the_flows_and_the_order_of_the_schema_are_noticed() {
    let it = good(&process(
        "<startEvent id='s'><outgoing>f</outgoing><outgoing>g</outgoing></startEvent>\n\
         <endEvent id='e'><incoming>g</incoming><documentation>late</documentation></endEvent>\n\
         <sequenceFlow id='f' sourceRef='s' targetRef='e'/>",
    ));
    let found: Vec<_> =
        it.findings.iter().map(|f| (f.rule.as_str(), f.at.line, f.element.as_deref().unwrap())).collect();
    let mismatch = "flow-ref-mismatch";
    assert_eq!(found, [(mismatch, 2, "s"), (mismatch, 3, "e"), ("xsd-order", 3, "e")]);
}

#[test]
fn a_column_inside_an_expression_is_a_place_in_the_file() {
    let text = process(
        "<startEvent id='s'/><task id='t'/><sequenceFlow id='f' sourceRef='s' targetRef='t'>\n\
         <conditionExpression>= a &lt;\n b</conditionExpression></sequenceFlow>",
    );
    let it = good(&text);
    let condition = it.processes[0].scope.flows[0].condition.as_ref().unwrap();
    assert_eq!(condition.text, "= a <\n b");
    let place = |column| {
        let at = place_in(&it, condition, column);
        (at.line, at.column, &text[at.offset..at.offset + at.length])
    };
    assert_eq!(place(3), (3, 24, "a"));
    assert_eq!(place(5), (3, 26, "&"));
    assert_eq!(place(8), (4, 2, "b"));
    assert_eq!(place(9), (4, 3, ""), "one past the end: something is missing");
}

#[test]
fn a_drawing_as_mermaid() {
    let states = BTreeMap::from([
        ("fired".to_owned(), StateClass::Done),
        ("render".to_owned(), StateClass::Done),
        ("verify".to_owned(), StateClass::Active),
        ("not there".to_owned(), StateClass::Incident),
    ]);
    let definitions = good(REPAIR);
    let plain = include_str!("../../../tests/data/bpmn/repair.mmd");
    assert_eq!(mermaid(&definitions), plain);
    let coloured = mermaid_of(&definitions.processes[0], &states);
    let classes = coloured.strip_prefix(plain).unwrap();
    assert_eq!(
        classes,
        "  classDef done fill:#d9ead3,stroke:#38761d,color:#000\n  class n_fired,n_render done\n  \
         classDef active fill:#cfe2f3,stroke:#0b5394,color:#000\n  class n_verify active\n"
    );
}

#[test]
fn mermaid_draws_scopes_pools_and_hostile_text() {
    let definitions = good(&file(
        "<collaboration id='c'><participant id='us' processRef='p'/><participant id='them' name='Them'/>\
         <messageFlow id='m' sourceRef='them' targetRef='a-b'/></collaboration>\
         <process id='p'><task id='a-b' name='say \"&lt;b&gt;\"&#10;end'/><task id='a.b'/><subProcess id='end'>\
         <userTask id='u'/></subProcess><sequenceFlow id='f' sourceRef='a-b' targetRef='end'/></process>",
    ));
    assert_eq!(
        mermaid(&definitions),
        "flowchart LR\n  subgraph n_p[\"p\"]\n    direction LR\n    n_a_b[\"say #quot;#lt;b#gt;#quot;<br/>end\"]\n    \
         n_a_b_2[\"a.b\"]\n    subgraph n_end[\"end\"]\n      direction LR\n      n_u[\"u\"]\n    end\n    \
         n_a_b --> n_end\n  end\n  n_them[/\"Them\"/]\n  n_them -.-> n_a_b\n"
    );
}
