//! The key `finding` of a gate (gates.md 1.2): how many spans have what the check against the registry found.
//!
//! Duty: ids or a level to the statement that counts them, with code 033 for an id that nobody finds. Guarantee: a finding that
//! this version does not look for is refused, for its share would always be 0, which is no pass; without `per: span` only
//! spans that match the registry count, so that a registry that is not there is no pass either. Left to others: finding
//! (`semconv`), the check of `by` (`plan`).

use super::file::Setting;
use super::problem::Code;
use super::reader::Keys;
use crate::yaml::nearest;

/// Ids that the check raises (semconv.md 4).
const FOUND: [&str; 1] = ["required_attribute_not_present"];
/// Ids that are specified and not looked for yet.
const COMING: [&str; 22] = [
    "missing_attribute",
    "template_attribute",
    "deprecated",
    "type_mismatch",
    "undefined_enum_variant",
    "not_stable",
    "recommended_attribute_not_present",
    "opt_in_attribute_not_present",
    "conditionally_required_attribute_not_present",
    "unexpected_attribute",
    "kind_mismatch",
    "entity_required_attribute_not_present",
    "entity_recommended_attribute_not_present",
    "entity_opt_in_attribute_not_present",
    "entity_conditionally_required_attribute_not_present",
    "entity_association_not_satisfied",
    "missing_namespace",
    "invalid_format",
    "illegal_namespace",
    "extends_namespace",
    "unknown_span_type",
    "span_name_mismatch",
];
/// Levels, worst first.
const LEVELS: [&str; 3] = ["violation", "improvement", "information"];
/// Ids of one gate.
const MOST_IDS: usize = 20;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// A condition on a span.
    found: String,
    /// Spans that match no definition count too.
    per_span: bool,
}

impl Finding {
    /// One statement: `value`, the share of spans with it; `n`, how many there are; `match_rate`; the traces of two of them.
    pub(super) fn sql(&self, by: &[String]) -> String {
        let keys: String = by.iter().map(|column| format!("\"{column}\", ")).collect();
        let grouped = match by {
            [] => String::new(),
            _ => format!(" GROUP BY {}", keys.trim_end_matches(", ")),
        };
        let (counted, also) = match self.per_span {
            true => ("count(*)", ""),
            false => ("count(semconv_type)", "semconv_type IS NOT NULL AND "),
        };
        let found = format!("FILTER (WHERE {also}{})", self.found);
        format!(
            "SELECT {keys}count(*) {found} / CAST(nullif({counted}, 0) AS DOUBLE) AS value, {counted} AS n,\n  \
             count(semconv_type) / CAST(nullif(count(*), 0) AS DOUBLE) AS match_rate,\n  \
             make_array(min(trace_id) {found}, max(trace_id) {found}) AS trace_ids\nFROM spans{grouped}"
        )
    }
}

/// `finding` of a gate, if it is given and can be used.
pub(super) fn read(keys: &Keys<'_>, setting: Setting<'_>) -> Option<Finding> {
    let entry = keys.entry("finding")?;
    let finding = Keys::of(&entry.value, "`finding`", keys.who.clone(), setting.problems)?;
    let per_span = finding.choice("per", &[("matched", false), ("span", true)]).unwrap_or(false);
    let level = finding.choice("min_level", &LEVELS.map(|level| (level, level)));
    let ids = finding.texts("ids");
    let is_level = finding.is_given("min_level");
    let found = match (&ids, is_level) {
        (Some(_), true) => {
            let what = "`ids` and `min_level` are given: one of them says what is counted";
            finding.tell(Code::Finding, &finding.place("min_level"), what, "remove one of them");
            None
        }
        (Some(ids), false) => {
            if ids.is_empty() || ids.len() > MOST_IDS {
                let what = format!("`ids` has {} entries, it must have 1 to {MOST_IDS}", ids.len());
                finding.tell(Code::Finding, &finding.place("ids"), what, "name what is to be found");
            }
            // All of them are told.
            let known: Vec<bool> = ids.iter().map(|(id, mark)| is_known(&finding, id, mark)).collect();
            let any = ids.iter().map(|(id, _)| format!("has_finding(semconv_findings, '{id}')"));
            let is_usable = !known.contains(&false) && !ids.is_empty();
            is_usable.then(|| format!("({})", any.collect::<Vec<_>>().join(" OR ")))
        }
        (None, true) => level.map(|level| {
            let at = LEVELS.iter().position(|known| *known == level).unwrap_or(0);
            let levels: Vec<String> = LEVELS[..=at].iter().map(|level| format!("'{level}'")).collect();
            format!("finding_level IN ({})", levels.join(", "))
        }),
        (None, false) if finding.is_given("ids") => None,
        (None, false) => {
            let what = "`finding` has neither `ids` nor `min_level`";
            finding.tell(Code::Missing, &finding.mark, what, "write e.g. `{ids: [required_attribute_not_present]}`");
            None
        }
    };
    finding.finish(&[]);
    Some(Finding { found: found?, per_span })
}

fn is_known(keys: &Keys<'_>, id: &str, mark: &crate::yaml::Mark) -> bool {
    if FOUND.contains(&id) {
        return true;
    }
    if COMING.contains(&id) {
        let what = format!("`{id}` is coming: this version does not look for it, so its share would always be 0");
        keys.tell(Code::Finding, mark, what, format!("it looks for {}", FOUND.join(", ")));
        return false;
    }
    let next = match nearest(id, FOUND.into_iter().chain(COMING)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it looks for {}", FOUND.join(", ")),
    };
    keys.tell(Code::Finding, mark, format!("there is no finding `{id}`"), next);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_match_nothing_count_only_where_that_is_asked() {
        let found = "finding_level IN ('violation')".to_owned();
        let matched = Finding { found: found.clone(), per_span: false };
        assert_eq!(
            matched.sql(&["service_name".to_owned()]),
            "SELECT \"service_name\", count(*) FILTER (WHERE semconv_type IS NOT NULL AND finding_level IN ('violation')) \
             / CAST(nullif(count(semconv_type), 0) AS DOUBLE) AS value, count(semconv_type) AS n,\n  \
             count(semconv_type) / CAST(nullif(count(*), 0) AS DOUBLE) AS match_rate,\n  \
             make_array(min(trace_id) FILTER (WHERE semconv_type IS NOT NULL AND finding_level IN ('violation')), \
             max(trace_id) FILTER (WHERE semconv_type IS NOT NULL AND finding_level IN ('violation'))) AS trace_ids\n\
             FROM spans GROUP BY \"service_name\""
        );
        let all = Finding { found, per_span: true }.sql(&[]);
        assert!(all.contains("/ CAST(nullif(count(*), 0) AS DOUBLE) AS value, count(*) AS n,"), "{all}");
        assert!(!all.contains("GROUP BY") && !all.contains("IS NOT NULL AND"), "{all}");
    }
}
