//! Indicators of OpenSLO as conditions on spans.
//!
//! Duty: `ratioMetric` and `thresholdMetric` to what an `slo` counts, by metric sources that read spans or by the annotations
//! `weavergen.dev/total` and `weavergen.dev/good` in their stead. Guarantee: a source that reads another store is refused with
//! the way to say the same of spans. Left to others: statements over `spans` (`reach`).

use super::super::reach::{self, Asked};
use super::super::text;
use super::Named;
use super::meta::{Meta, OURS};
use crate::gate::problem::{Code, Problems, Who};
use crate::gate::reader::Keys;
use crate::yaml::{Mark, Node};

/// The type of sources that read spans.
const TYPE: &str = "weavergen";
const EXAMPLE: &str = "write `metricSource: {type: weavergen, spec: {where: \"kind = 'server'\"}}`, or put the annotations \
                       `weavergen.dev/total` and `weavergen.dev/good` with conditions on columns of `spans` on the SLO";

/// What is counted.
#[derive(Clone, Debug)]
pub(super) struct Indicator {
    /// Spans that count.
    pub total: Node,
    /// Those of them that are good; or …
    pub good: Option<Node>,
    /// … what an objective compares.
    pub value: Option<String>,
    pub by: Option<Node>,
}

/// Reads `spec` of the SLI with the second of `metas`, which the SLO with the first uses.
pub(super) fn read<'a>(
    spec: Option<&'a Node>,
    (slo, sli): (&Meta<'_>, &Meta<'_>),
    who: &Who,
    (named, problems): (&Named<'a>, &'a Problems),
) -> Option<Indicator> {
    // Of ours, that of the SLO goes first.
    let (total, good) = (slo.total.clone().or(sli.total.clone()), slo.good.clone().or(sli.good.clone()));
    let by = sli.by.clone();
    match (total, good) {
        (Some(total), Some(good)) => return Some(Indicator { total, good: Some(good), value: None, by }),
        (Some(one), None) | (None, Some(one)) => {
            let what = format!("of the annotations {OURS}total and {OURS}good one is missing");
            problems.add(Code::Slo, &one.mark, who, what, "give both: they stand for the metric sources");
            return None;
        }
        (None, None) => {}
    }
    let Some(spec) = spec else {
        problems.add(
            Code::Missing,
            &sli.mark,
            who,
            "`spec` is missing",
            "say what is counted: `spec: {ratioMetric: …}`",
        );
        return None;
    };
    let keys = Keys::of(spec, "`spec`", who.clone(), problems)?;
    // For people; the gate has the description of its SLO.
    keys.text("description");
    let read = match (keys.entry("ratioMetric"), keys.entry("thresholdMetric")) {
        (Some(_), Some(second)) => {
            keys.tell(Code::Slo, &second.mark, "`ratioMetric` and `thresholdMetric` are given", "keep one of them");
            None
        }
        (Some(entry), None) => ratio(&keys, &entry.value, named),
        (None, Some(entry)) => threshold(&keys, &entry.value, named),
        (None, None) => {
            let what = "the indicator has neither `ratioMetric` nor `thresholdMetric`";
            keys.tell(Code::Missing, &keys.mark, what, EXAMPLE);
            None
        }
    };
    keys.finish(&[]);
    read.map(|read| Indicator { by, ..read })
}

fn ratio<'a>(of: &Keys<'a>, node: &'a Node, named: &Named<'a>) -> Option<Indicator> {
    let keys = Keys::of(node, "`ratioMetric`", of.who.clone(), of.problems)?;
    // Spans are counted, whether the metric that stood for them only rose or not.
    keys.boolean("counter");
    for key in ["raw", "rawType"] {
        if let Some(entry) = keys.entry(key) {
            let what = format!("`{key}` is of a ratio that was computed elsewhere; spans are counted here");
            keys.tell(Code::Slo, &entry.mark, what, "give `good` and `total`");
        }
    }
    let condition = |key: &'static str| {
        let entry = keys.entry(key)?;
        let (asked, mark) = source(&keys, &entry.value, false, named)?;
        Some((asked.condition, mark))
    };
    let (good, bad, total) = (condition("good"), condition("bad"), condition("total"));
    if !keys.is_given("raw") {
        keys.required("total", "say which spans count");
        match (keys.is_given("good"), keys.is_given("bad")) {
            (false, false) => {
                keys.tell(Code::Missing, &keys.mark, "`ratioMetric` has neither `good` nor `bad`", "give one of them");
            }
            (true, true) => {
                keys.tell(Code::Slo, &keys.place("bad"), "`good` and `bad` are given", "keep one of them");
            }
            _ => {}
        }
    }
    keys.finish(&[]);
    let (total, total_mark) = total?;
    let good = match (good, bad) {
        (Some((good, mark)), None) => text(good, &mark),
        // What is not known to be bad is good, as the count of bad ones has it.
        (None, Some((bad, mark))) => text(format!("({bad}) IS NOT TRUE"), &mark),
        _ => return None,
    };
    Some(Indicator { total: text(total, &total_mark), good: Some(good), value: None, by: None })
}

fn threshold<'a>(of: &Keys<'a>, node: &'a Node, named: &Named<'a>) -> Option<Indicator> {
    let (asked, mark) = source(of, node, true, named)?;
    // What has no value is no point of the metric, so it does not count.
    let total = format!("({}) AND ({}) IS NOT NULL", asked.condition, asked.what);
    Some(Indicator { total: text(total, &mark), good: None, value: Some(asked.what), by: None })
}

/// What `metricSource` below `node` asks of spans: a value of each, or how many there are.
fn source<'a>(of: &Keys<'a>, node: &'a Node, of_value: bool, named: &Named<'a>) -> Option<(Asked, Mark)> {
    let outer = Keys::of(node, "a metric", of.who.clone(), of.problems)?;
    outer.required("metricSource", EXAMPLE);
    let entry = outer.entry("metricSource");
    outer.finish(&[]);
    let keys = Keys::of(&entry?.value, "`metricSource`", of.who.clone(), of.problems)?;
    let own = keys.text("type").map(|(name, mark)| (name.to_owned(), mark.clone()));
    let referred = keys.text("metricSourceRef").map(|(name, mark)| {
        let found = named.sources.get(name).and_then(|source| source.spec?.at(&["type"]));
        match found.map(|node| &node.value) {
            Some(crate::yaml::Value::Text(kind)) => (kind.clone(), mark.clone()),
            _ => (format!("{name}, which is not in the file"), mark.clone()),
        }
    });
    keys.required("spec", EXAMPLE);
    let spec = keys.entry("spec");
    keys.finish(&[]);
    let foreign = own.or(referred).filter(|(kind, _)| !kind.eq_ignore_ascii_case(TYPE));
    if let Some((kind, mark)) = foreign {
        let what = format!("the metric is read from {kind}, and gates read spans");
        of.tell(Code::Slo, &mark, what, EXAMPLE);
        return None;
    }
    asked(of, &spec?.value, of_value)
}

fn asked<'a>(of: &Keys<'a>, node: &'a Node, of_value: bool) -> Option<(Asked, Mark)> {
    let keys = Keys::of(node, "`spec` of a metric source", of.who.clone(), of.problems)?;
    let (condition, value, query) = (keys.text("where"), keys.text("value"), keys.text("query"));
    keys.finish(&[]);
    if let Some((_, mark)) = query.filter(|_| condition.is_some() || value.is_some()) {
        of.tell(Code::Slo, mark, "`query` stands beside `where` or `value`", "keep one way to say it");
        return None;
    }
    if let Some((query, mark)) = query {
        return match reach::asked(query) {
            Ok(asked) if asked.counts() != of_value => Some((asked, mark.clone())),
            Ok(asked) => {
                let (what, next) = match of_value {
                    true => ("a count", "ask for a value of each span: `SELECT duration_ns / 1e6 FROM spans WHERE …`"),
                    false => ("a value of each span", "count spans: `SELECT count(*) FROM spans WHERE …`"),
                };
                of.tell(Code::Slo, mark, format!("`query`: `{}` is {what}", asked.what), next);
                None
            }
            Err(why) => {
                of.tell(Code::Slo, mark, format!("`query` is {why}"), EXAMPLE);
                None
            }
        };
    }
    // They are put between parentheses, so each is one expression.
    let expression = |key: &str, text: &str, mark: &Mark| of.condition_of(Code::Slo, key, text, mark);
    match (condition, value, of_value) {
        (Some((condition, mark)), None, false) => {
            let condition = expression("where", condition, mark)?;
            Some((Asked { what: "count(*)".to_owned(), condition }, mark.clone()))
        }
        (condition, Some((value, value_mark)), true) => {
            let what = expression("value", value, value_mark);
            let (condition, mark) = match condition {
                Some((condition, mark)) => (expression("where", condition, mark), mark),
                None => (Some("true".to_owned()), value_mark),
            };
            Some((Asked { what: what?, condition: condition? }, mark.clone()))
        }
        (_, Some((_, mark)), false) => {
            of.tell(Code::Slo, mark, "`value` has no meaning in a `ratioMetric`, which counts spans", "remove it");
            None
        }
        (_, None, true) => {
            let next = "give a value of each span: `spec: {value: duration_ns / 1e6, where: \"kind = 'server'\"}`";
            of.tell(Code::Missing, &node.mark, "a `thresholdMetric` has no `value`", next);
            None
        }
        (None, None, false) => {
            of.tell(Code::Missing, &node.mark, "the metric source has neither `where` nor `query`", EXAMPLE);
            None
        }
    }
}
