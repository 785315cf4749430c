//! Each rule on a file that breaks it and on one that does not.
//!
//! Duty: rule, severity, element and place of every rule of the first end-to-end. Guarantee: every finding names its element
//! in the fix. Left to others: errors that `parse` finds (`model::tests`).

use super::*;
use crate::model::{parse, tests::process};

/// A registry with three types.
fn registry() -> Registry {
    let rule = |name: &str, required, values: &[&str]| HeaderRule {
        name: name.to_owned(),
        required,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    Registry {
        jobs: BTreeMap::from([
            ("sql".to_owned(), vec![rule("query", true, &[]), rule("single", false, &["true", "false"])]),
            ("command".to_owned(), vec![rule("argv", true, &[])]),
            ("span-gate".to_owned(), vec![rule("gate", true, &[])]),
        ]),
        results: BTreeMap::from([
            ("sql".to_owned(), vec!["rows".to_owned(), "row".to_owned()]),
            ("command".to_owned(), vec!["exitCode".to_owned()]),
        ]),
        external: vec!["mail".to_owned()],
        gates: None,
        now_ms: Some(1_700_000_000_000),
    }
}

fn findings(file: &str) -> Vec<Diagnostic> {
    let definitions = parse(file.as_bytes()).unwrap_or_else(|errors| panic!("{}\n{file}", errors[0]));
    let findings = check(&definitions, &registry());
    for finding in &findings {
        let element = finding.element.as_deref().expect("every rule here is about an element");
        assert!(finding.fix.contains(element), "the fix names `{element}`: {finding}");
        assert!(finding.at.line > 0, "{finding}");
    }
    findings
}

/// `severity rule [element] line:column` of each finding on a process that contains `inner` from line 3 on.
fn found(inner: &str) -> Vec<String> {
    let line = |d: &Diagnostic| {
        let (element, at) = (d.element.as_deref().unwrap_or_default(), d.at);
        format!("{} {} [{element}] {}:{}", d.severity, d.rule, at.line, at.column)
    };
    findings(&process(&format!("\n{inner}"))).iter().map(line).collect()
}

/// The same without the infos that nearly every sketch has.
fn serious(inner: &str) -> Vec<String> {
    found(inner).into_iter().filter(|line| !line.starts_with("info")).collect()
}

/// A service task of type `sql` with what it needs, on one line.
fn sql(id: &str) -> String {
    task(id, "sql", "<zeebe:header key='query' value='select 1'/>", "")
}

fn task(id: &str, r#type: &str, headers: &str, mappings: &str) -> String {
    format!(
        "<serviceTask id='{id}'><extensionElements><zeebe:taskDefinition type='{}'/><zeebe:taskHeaders>{headers}\
         </zeebe:taskHeaders><zeebe:ioMapping>{mappings}</zeebe:ioMapping></extensionElements></serviceTask>\n",
        r#type
    )
}

fn flow(id: &str, source: &str, target: &str, condition: &str) -> String {
    let condition = match condition {
        "" => String::new(),
        text => format!("<conditionExpression>{text}</conditionExpression>"),
    };
    format!("<sequenceFlow id='{id}' sourceRef='{source}' targetRef='{target}'>{condition}</sequenceFlow>\n")
}

/// start s → task a → end e, and `more`.
fn line(a: &str, more: &str) -> String {
    format!("<startEvent id='s'/>\n{a}<endEvent id='e'/>\n{}{}{more}", flow("f", "s", "a", ""), flow("g", "a", "e", ""))
}

/// start s → task a → gateway x (with `attribute`) → e1, e2 by two flows.
fn split(attribute: &str, one: &str, two: &str) -> String {
    format!(
        "<startEvent id='s'/>\n{}<exclusiveGateway id='x' {attribute}/>\n<endEvent id='e1'/>\n<endEvent id='e2'/>\n{}{}{}{}",
        task(
            "a",
            "sql",
            "<zeebe:header key='query' value='select 1'/>",
            "<zeebe:output source='= rows' target='rows'/><zeebe:output source='= row.n' target='number'/>"
        ),
        flow("f", "s", "a", ""),
        flow("g", "a", "x", ""),
        flow("one", "x", "e1", one),
        flow("two", "x", "e2", two),
    )
}

const NONE: [&str; 0] = [];

#[test]
fn a_whole_process_has_no_findings_but_infos() {
    assert_eq!(found(&line(&sql("a"), "")), NONE);
    assert_eq!(found(&split("default='two'", "= number &gt; 1", "")), NONE);
    let repair = include_str!("../../../tests/data/bpmn/repair.bpmn");
    let definitions = parse(repair.as_bytes()).unwrap();
    let rules: Vec<_> = check(&definitions, &Registry::default()).into_iter().map(|d| d.rule).collect();
    assert_eq!(rules, ["error-uncaught"]);
}

#[test]
fn whether_a_process_runs_is_said() {
    let file = process(&line(&sql("a"), ""));
    let rules = |file: &str| findings(file).iter().map(|d| format!("{} {}", d.severity, d.rule)).collect::<Vec<_>>();
    assert_eq!(rules(&file), NONE);
    assert_eq!(rules(&file.replace(" isExecutable=\"true\"", "")), ["info executable-unset"]);
    let drawing = file.replace("\"true\"", "\"false\"").replace("serviceTask", "userTask");
    assert_eq!(rules(&drawing), ["info not-executable"]);
}

#[test]
fn what_is_not_built_is_refused_by_name_with_its_tier() {
    let refused = |inner: &str, what: &str| {
        let all = serious(inner);
        assert!(all.iter().any(|line| line.starts_with(&format!("error unsupported:{what} ["))), "{what}: {all:?}");
    };
    let user = "<userTask id='a'/>\n";
    assert_eq!(serious(&line(user, "")), ["error unsupported:userTask [a] 4:1"]);
    refused(&line(user, ""), "userTask");
    refused(&line("<parallelGateway id='a'/>\n", ""), "parallelGateway");
    refused(
        &line("<subProcess id='a'><startEvent id='b'><timerEventDefinition/></startEvent></subProcess>\n", ""),
        "subProcess",
    );
    let listeners = sql("a").replace("<zeebe:taskHeaders>", "<zeebe:executionListeners/><zeebe:taskHeaders>");
    refused(&line(&listeners, ""), "executionListeners");
    let cycle = "<boundaryEvent id='b' attachedToRef='a'><timerEventDefinition><timeCycle>R3/PT1M</timeCycle>\
                 </timerEventDefinition></boundaryEvent>";
    refused(&line(&sql("a"), cycle), "timeCycle");
    refused(&line(&sql("a").replace("id='a'", "id='a' startQuantity='2'"), ""), "startQuantity");
    let durable = "<extensionElements><zeebe:properties><zeebe:property name='weavergen.durability' value='none'/>\
                   </zeebe:properties></extensionElements>";
    refused(&format!("{durable}{}", line(&sql("a"), "")), "weavergen.durability");
    assert_eq!(serious(&format!("{}{}", durable.replace("none", "group"), line(&sql("a"), ""))), NONE);

    let nested = findings(&process(&line("<subProcess id='a'><userTask id='u'/></subProcess>", "")));
    let both: Vec<_> = nested.iter().filter(|d| d.rule.starts_with("unsupported:")).map(|d| d.rule.as_str()).collect();
    assert_eq!(both, ["unsupported:subProcess", "unsupported:userTask"]);
    let complex = findings(&process(&line("<complexGateway id='a'/>", "")));
    assert!(complex[0].message.contains("tier 3") && complex[0].fix.contains("exclusive gateways"), "{}", complex[0]);
    assert_eq!(serious(&line("<magicTask id='a'/>\n", "")), ["error unknown-element-on-path [a] 4:1"]);
}

#[test]
fn a_process_needs_a_place_to_begin() {
    assert_eq!(serious(""), ["error no-start [p] 2:1"]);
    let ring = format!("{}{}{}{}", sql("a"), sql("b"), flow("f", "a", "b", ""), flow("g", "b", "a", ""));
    assert_eq!(serious(&ring), ["error no-start [p] 2:1"]);
    assert_eq!(serious(&sql("a")), NONE, "a node without incoming flow is a place to begin");
    let two = line(&sql("a"), &format!("<startEvent id='t'/>\n{}", flow("h", "t", "a", "")));
    assert_eq!(serious(&two), ["warning several-none-starts [t] 8:1"]);
}

#[test]
fn a_node_that_no_token_gets_to_is_refused() {
    assert_eq!(serious(&line(&sql("a"), &sql("b"))), ["error unreachable-node [b] 8:1"]);
    let boundary = "<boundaryEvent id='t' attachedToRef='a'><timerEventDefinition><timeDuration>PT1S</timeDuration>\
                    </timerEventDefinition></boundaryEvent>\n";
    let over_boundary = format!("{boundary}{}{}", sql("b"), flow("h", "t", "b", ""));
    assert_eq!(serious(&line(&sql("a"), &over_boundary)), NONE);
    let ring = format!("{}{}{}{}", sql("b"), sql("c"), flow("h", "b", "c", ""), flow("i", "c", "b", ""));
    let unreachable = "error unreachable-node";
    assert_eq!(serious(&line(&sql("a"), &ring)), [format!("{unreachable} [b] 8:1"), format!("{unreachable} [c] 9:1")]);
    assert_eq!(
        found(&format!("<startEvent id='s'/>{}{}", sql("a"), flow("f", "s", "a", ""))),
        ["info dead-end-implicit [a] 3:21"]
    );
}

#[test]
fn an_exclusive_split_decides_for_every_token() {
    assert_eq!(serious(&split("", "", "")), ["error exclusive-flow-without-condition [x] 11:1"]);
    assert_eq!(serious(&split("", "= number &gt; 1", "")), ["warning implicit-default [two] 11:1"]);
    assert_eq!(
        serious(&split("", "= number &gt; 1", "= number &lt; 1")),
        ["warning no-default-and-not-exhaustive [x] 5:1"]
    );
    assert_eq!(serious(&split("", "= number &gt; 1", "= number &lt;= 1")), NONE);
    assert_eq!(
        serious(&split("default='one'", "= number = 1", "= number = 2")),
        ["warning default-flow-with-condition [one] 10:1"]
    );
    assert_eq!(serious(&split("default='one'", "", "")), ["warning default-never-taken [one] 10:1"]);
    let task = line(&sql("a").replace("id='a'", "id='a' default='g'"), &flow("h", "a", "e", ""));
    assert_eq!(serious(&task), ["warning default-never-taken [g] 7:1"]);
    assert_eq!(serious(&line(&sql("a"), &flow("h", "a", "e", ""))), NONE, "a task takes all its open flows");
}

#[test]
fn a_default_of_another_node_is_a_dangling_reference() {
    let found = serious(&split("default='g'", "= number = 1", "= number != 1"));
    assert_eq!(found, ["error dangling-ref [x] 5:35"]);
}

#[test]
fn a_condition_that_does_not_parse_is_refused_at_its_character() {
    let all = serious(&split("default='two'", "= number &gt;", ""));
    assert_eq!(all.len(), 1);
    assert!(all[0].starts_with("error condition-parse [one] 10:"), "{all:?}");
    let file = process(&format!("\n{}", split("default='two'", "= number &lt; )", "")));
    let finding = findings(&file).into_iter().find(|d| d.rule == "condition-parse").unwrap();
    assert_eq!(&file[finding.at.offset..finding.at.offset + finding.at.length], ")");
    let column = file.lines().nth(9).unwrap().find(')').unwrap() as u32 + 1;
    assert_eq!((finding.at.line, finding.at.column), (10, column));
    let chance = serious(&split("default='two'", "= number &gt; random number()", ""));
    assert!(chance[0].starts_with("error feel-nondeterministic [one] 10:"), "{chance:?}");
    let mapping = task("a", "sql", "<zeebe:header key='query' value='= ('/>", "");
    assert!(serious(&line(&mapping, ""))[0].starts_with("error condition-parse [a] 4:"));
    let result = task(
        "a",
        "sql",
        "<zeebe:header key='query' value='q'/><zeebe:header key='resultExpression' value='{a: '/>",
        "",
    );
    assert!(serious(&line(&result, ""))[0].starts_with("error condition-parse [a] 4:"));
}

#[test]
fn a_condition_reads_what_somebody_writes() {
    let unknown = |condition: &str| {
        let file = process(&split("default='two'", condition, ""));
        let all = findings(&file);
        all.into_iter().map(|d| (d.rule, d.fix)).collect::<Vec<_>>()
    };
    let typo = unknown("= numbr &gt; 1");
    assert_eq!(typo.len(), 1);
    assert_eq!(typo[0].0, "condition-unknown-variable");
    assert!(typo[0].1.contains("`number`"), "{}", typo[0].1);
    assert!(unknown("= elsewhere")[0].1.contains("declare `elsewhere`"));
    assert_eq!(unknown("= run.started != null and number = 1"), []);
    // A start event that maps a name declares it.
    let declared = split("default='two'", "= amount &gt; 1", "").replace(
        "<startEvent id='s'/>",
        "<startEvent id='s'><extensionElements><zeebe:ioMapping><zeebe:output source='= amount' target='amount'/>\
         </zeebe:ioMapping></extensionElements></startEvent>",
    );
    assert_eq!(serious(&declared), NONE);
    // What is written only after the condition does not help.
    let later = line(&sql("a"), "").replace("<endEvent id='e'/>", "<endEvent id='e'/><endEvent id='e2'/>")
        + &task("b", "command", "<zeebe:header key='argv' value='x'/>", "")
        + &flow("h", "a", "b", "= exitCode = 0")
        + &flow("i", "b", "e2", "");
    assert_eq!(serious(&later).len(), 1);
    // A job whose results are not known may write anything; only a slip of one letter is told.
    let open = split("default='two'", "= elsewhere", "")
        .replace("type='sql'", "type='mail'")
        .replace("<zeebe:output source='= rows' target='rows'/><zeebe:output source='= row.n' target='number'/>", "");
    assert_eq!(serious(&open), NONE);
    let header = "<zeebe:header key='resultVariable' value='answer'/>";
    let named = split("default='two'", "= answer.ok", "")
        .replace("</zeebe:taskHeaders>", &format!("{header}</zeebe:taskHeaders>"))
        .replace("<zeebe:output source='= rows' target='rows'/><zeebe:output source='= row.n' target='number'/>", "");
    assert_eq!(serious(&named), NONE);
}

#[test]
fn a_gate_gives_its_run_names_and_a_slip_is_told() {
    let gate = |condition: &str| {
        let start = "<startEvent id='s'><messageEventDefinition messageRef='m'/></startEvent>";
        let inner = split("default='two'", condition, "").replace("<startEvent id='s'/>", start);
        let file = process(&inner).replace("<process", "<message id='m' name='weavergen.gate.slow'/><process");
        findings(&file).into_iter().map(|d| d.rule).collect::<Vec<_>>()
    };
    assert_eq!(gate("= verdict = \"fail\" and service = \"cart\""), NONE);
    assert_eq!(gate("= verdikt = \"fail\""), ["condition-unknown-variable"]);
}

#[test]
fn a_condition_that_is_never_boolean_is_told() {
    for (condition, rule) in [
        ("= number + 1", Some("condition-type")),
        ("= \"approved\"", Some("condition-type")),
        ("= 1 = \"a\"", Some("condition-type")),
        ("= null", Some("condition-type")),
        ("= number", None),
        ("= number = 1", None),
        ("= true", None),
    ] {
        let all = findings(&process(&split("default='two'", condition, "")));
        assert_eq!(all.first().map(|d| d.rule.as_str()), rule, "{condition}");
    }
}

#[test]
fn a_foreign_language_is_told_and_read_as_feel() {
    let with = |language: &str| {
        let text = split("default='two'", "= number = 1", "");
        serious(&text.replace("<conditionExpression>", &format!("<conditionExpression language='{language}'>")))
    };
    assert_eq!(with("javascript").len(), 1);
    assert!(with("javascript")[0].starts_with("warning expression-language [one] 10:"));
    assert_eq!(with("https://www.omg.org/spec/DMN/20191111/FEEL/"), NONE);
}

#[test]
fn a_literal_that_looks_like_feel_is_told() {
    let with = |source: &str| {
        let mappings = format!("<zeebe:input source='x' target='known'/><zeebe:input source='{source}' target='y'/>");
        serious(&line(&task("a", "sql", "<zeebe:header key='query' value='q'/>", &mappings), ""))
    };
    assert_eq!(with("known.name").len(), 1);
    assert!(with("known + 1")[0].starts_with("warning literal-looks-like-feel [a] 4:"));
    for fine in ["known", "known.", "known things", "other.name", "= known.name", "known-good"] {
        assert_eq!(with(fine), NONE, "{fine}");
    }
}

#[test]
fn a_mapping_has_a_source_and_a_target_of_its_own() {
    let with = |mapping: &str| serious(&line(&task("a", "sql", "<zeebe:header key='query' value='q'/>", mapping), ""));
    for bad in [
        "target='a'",
        "source=' ' target='a'",
        "source='= 1'",
        "source='= 1' target='a..b'",
        "source='= 1' target='run.key'",
        "source='=' target='a'",
    ] {
        let all = with(&format!("<zeebe:input {bad}/>"));
        assert_eq!(all.len(), 1, "{bad}");
        assert!(all[0].starts_with("error mapping-invalid [a] 4:"), "{all:?}");
    }
    assert_eq!(with("<zeebe:input source='= 1' target='a.b'/>"), NONE);
}

#[test]
fn a_boundary_event_sits_on_an_activity_and_waits_for_something() {
    let timer = "<timerEventDefinition><timeDuration>PT1S</timeDuration></timerEventDefinition>";
    let on = |attributes: &str, definition: &str| {
        let boundary = format!("<boundaryEvent id='b' {attributes}>{definition}</boundaryEvent>\n");
        serious(&line(&sql("a"), &format!("{boundary}{}", flow("h", "b", "e", ""))))
    };
    assert_eq!(on("attachedToRef='a'", timer), NONE);
    assert_eq!(on("attachedToRef='s'", timer), ["error boundary-host-invalid [b] 8:1"]);
    assert_eq!(on("", timer), ["error boundary-host-invalid [b] 8:1"]);
    assert_eq!(on("attachedToRef='a'", ""), ["error event-definition-missing [b] 8:1"]);
    assert_eq!(on("attachedToRef='a' cancelActivity='false'", timer), NONE);
    let error = "<errorEventDefinition/>";
    assert_eq!(
        on("attachedToRef='a' cancelActivity='false'", error),
        ["error error-boundary-non-interrupting [b] 8:1"]
    );
    let incoming = format!(
        "<boundaryEvent id='b' attachedToRef='a'>{timer}</boundaryEvent>\n{}{}",
        flow("h", "b", "e", ""),
        flow("i", "a", "b", "")
    );
    assert_eq!(serious(&line(&sql("a"), &incoming)), ["error boundary-host-invalid [b] 8:1"]);
    let twice = format!(
        "<boundaryEvent id='b' attachedToRef='a'>{error}</boundaryEvent>\n<boundaryEvent id='c' attachedToRef='a'>{error}\
         </boundaryEvent>\n<boundaryEvent id='d' attachedToRef='a'>{timer}</boundaryEvent>\n\
         <boundaryEvent id='h' attachedToRef='a'>{}</boundaryEvent>\n",
        timer.replace("PT1S", "PT2S")
    );
    assert_eq!(serious(&line(&sql("a"), &twice)), ["error boundary-duplicate [c] 9:1"]);
    let catch = "<intermediateCatchEvent id='a'/>\n";
    assert_eq!(serious(&line(catch, "")), ["error event-definition-missing [a] 4:1"]);
}

#[test]
fn an_error_end_names_a_code() {
    let end = |definition: &str| {
        let inner =
            line(&sql("a"), "").replace("<endEvent id='e'/>", &format!("<endEvent id='e'>{definition}</endEvent>"));
        let root = "<error id='known' errorCode='X'/><error id='empty' errorCode=' '/>";
        let file = process(&format!("\n{inner}")).replace("<process", &format!("{root}<process"));
        findings(&file).iter().map(|d| format!("{} {}", d.severity, d.rule)).collect::<Vec<_>>()
    };
    assert_eq!(end("<errorEventDefinition errorRef='known'/>"), ["info error-uncaught"]);
    assert_eq!(end("<errorEventDefinition errorRef='empty'/>"), ["error error-code-missing"]);
    assert_eq!(end("<errorEventDefinition/>"), ["error error-code-missing"]);
    let catch = "<boundaryEvent id='b' attachedToRef='a'><errorEventDefinition/></boundaryEvent>";
    let all = found(&line(&sql("a"), catch));
    assert_eq!(all, ["info dead-end-implicit [b] 8:1", "info error-code-missing [b] 8:1"]);
}

#[test]
fn a_message_start_has_a_name_of_its_own() {
    let start =
        |id: &str, message: &str| format!("<startEvent id='{id}'><messageEventDefinition {message}/></startEvent>\n");
    let with = |starts: &str| {
        let inner = line(&sql("a"), "").replace("<startEvent id='s'/>\n", starts);
        let root = "<message id='named' name='go'/><message id='nameless'/>";
        let file = process(&format!("\n{inner}")).replace("<process", &format!("{root}<process"));
        findings(&file)
            .iter()
            .map(|d| format!("{} {} {}", d.severity, d.rule, d.element.as_deref().unwrap()))
            .collect::<Vec<_>>()
    };
    let rule = "error message-without-correlation";
    assert_eq!(with(&start("s", "messageRef='named'")), NONE);
    assert_eq!(with(&start("s", "messageRef='nameless'")), [format!("{rule} s")]);
    assert_eq!(with(&start("s", "")), [format!("{rule} s")]);
    let twice = start("s", "messageRef='named'") + &start("t", "messageRef='named'") + &flow("h", "t", "a", "");
    assert_eq!(with(&twice), [format!("{rule} t")]);
}

#[test]
fn a_timer_is_read_at_deploy() {
    let with = |timer: &str| {
        let boundary = format!(
            "<boundaryEvent id='b' attachedToRef='a'><timerEventDefinition>{timer}</timerEventDefinition></boundaryEvent>\n{}",
            flow("h", "b", "e", "")
        );
        let all = found(&line(&sql("a"), &boundary));
        all.iter().map(|line| line.rsplit_once(':').unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(with("<timeDuration>PT10M</timeDuration>"), NONE);
    assert_eq!(with("<timeDate>2030-01-01T00:00:00Z</timeDate>"), NONE);
    assert_eq!(with("<timeDuration>= wait</timeDuration>"), NONE);
    for bad in ["<timeDuration>10 minutes</timeDuration>", "<timeDate>tomorrow</timeDate>", "", "<timeDuration/>"] {
        assert_eq!(with(bad), ["error timer-unparsable [b] 8"], "{bad}");
    }
    assert_eq!(with("<timeDuration>= (</timeDuration>"), ["error condition-parse [b] 8"]);
    assert_eq!(with("<timeDate>2030-01-01T00:00:00</timeDate>"), ["info timer-local-time [b] 8"]);
    assert_eq!(with("<timeDate>2020-01-01T00:00:00Z</timeDate>"), ["warning timer-in-past [b] 8"]);
    let cycle = ["warning cycle-on-catch [b] 8", "error unsupported:timeCycle [b] 8"];
    assert_eq!(with("<timeCycle>R3/PT1M</timeCycle>"), cycle);
    assert_eq!(with("<timeCycle>R1/PT1M</timeCycle>"), cycle[1..]);
}

#[test]
fn a_service_task_has_a_known_type() {
    let with = |r#type: &str| serious(&line(&task("a", r#type, "<zeebe:header key='query' value='q'/>", ""), ""));
    assert_eq!(with("sql"), NONE);
    assert_eq!(with("mail"), NONE);
    assert_eq!(with("= kind"), NONE);
    assert_eq!(with(""), ["error job-type-missing [a] 4:1"]);
    assert_eq!(serious(&line("<serviceTask id='a'/>\n", "")), ["error job-type-missing [a] 4:1"]);
    let unknown = with("sqll");
    assert_eq!(unknown.len(), 1);
    assert!(unknown[0].starts_with("error job-type-unknown [a] 4:"));
    let fix = |r#type: &str| findings(&process(&line(&task("a", r#type, "", ""), "")))[0].fix.clone();
    assert!(fix("span_gate").contains("write `span-gate`"), "{}", fix("span_gate"));
    assert!(fix("kafka").contains("command, span-gate, sql"), "{}", fix("kafka"));
}

#[test]
fn headers_are_those_of_the_type() {
    let with = |r#type: &str, headers: &[(&str, &str)]| {
        let headers: String =
            headers.iter().map(|(key, value)| format!("<zeebe:header key='{key}' value='{value}'/>")).collect();
        let all = findings(&process(&line(&task("a", r#type, &headers, ""), "")));
        all.iter().map(|d| format!("{} {}", d.severity, d.rule)).collect::<Vec<_>>()
    };
    let (unknown, value) = (["error header-unknown-or-missing"], ["error header-value"]);
    let q = ("query", "select 1");
    assert_eq!(with("sql", &[q, ("single", "true"), ("timeout", "PT1M"), ("retryBackoff", "PT1S,PT10S")]), NONE);
    assert_eq!(
        with("sql", &[q, ("onUnknown", "error:LOST"), ("idempotent", "true"), ("single", "= number = 1")]),
        NONE
    );
    assert_eq!(with("sql", &[q, ("single", "{{ single }}")]), NONE);
    assert_eq!(with("sql", &[]), unknown);
    assert_eq!(with("sql", &[q, ("singel", "true")]), unknown);
    assert_eq!(with("sql", &[q, ("single", "yes")]), value);
    assert_eq!(with("sql", &[q, q]), value);
    for (key, bad) in [
        ("timeout", "10 min"),
        ("retryBackoff", "PT1S,soon"),
        ("idempotent", "yes"),
        ("onUnknown", "ignore"),
        ("onUnknown", "error:"),
        ("timeout", "PT0S"),
        ("timeout", "-PT5M"),
        ("retryBackoff", "PT1S,-PT1S"),
        ("resultVariable", "run"),
        ("resultVariable", "=x"),
        ("resultVariable", "{{ x }}"),
        ("resultVariable", "a.b"),
    ] {
        assert_eq!(with("sql", &[q, (key, bad)]), value, "{key}={bad}");
        assert_eq!(with("mail", &[(key, bad)]), value, "{key}={bad} of an external type");
    }
    let retry = ("onUnknown", "retry");
    assert_eq!(with("command", &[("argv", "[\"x\"]"), retry]), ["warning unsafe-retry"]);
    assert_eq!(with("command", &[("argv", "[\"x\"]"), retry, ("idempotent", "true")]), NONE);
    assert_eq!(with("sql", &[q, ("retryBackoff", "PT0S"), ("resultVariable", "found rows")]), NONE);
    for bad in ["many", "0", "-1"] {
        let retries = line(&sql("a").replace("type='sql'", &format!("type='sql' retries='{bad}'")), "");
        assert!(serious(&retries)[0].starts_with("error header-value [a] 4:"), "{bad}");
    }
}

#[test]
fn what_reading_noticed_is_handed_on() {
    let mismatch =
        line(&sql("a"), "").replace("<startEvent id='s'/>", "<startEvent id='s'><outgoing>x</outgoing></startEvent>");
    assert_eq!(serious(&mismatch), ["warning flow-ref-mismatch [s] 3:20"]);
    let associated = line(&sql("a").replace("</serviceTask>", "<dataInputAssociation/></serviceTask>"), "");
    assert!(serious(&associated)[0].starts_with("warning data-association-ignored [a] 4:"));
    let moved = line(
        &sql("a").replace("</serviceTask>", "<dataInputAssociation><assignment/></dataInputAssociation></serviceTask>"),
        "",
    );
    assert!(serious(&moved).iter().any(|line| line.starts_with("error unsupported:dataInputAssociation [a]")));
}

#[test]
fn findings_are_in_order_and_the_same_each_time() {
    let inner = split("default='two'", "= numbr +", "") + &sql("alone");
    let (one, two) = (findings(&process(&inner)), findings(&process(&inner)));
    assert_eq!(one, two);
    assert!(one.windows(2).all(|pair| (pair[0].at.line, pair[0].at.column) <= (pair[1].at.line, pair[1].at.column)));
}
