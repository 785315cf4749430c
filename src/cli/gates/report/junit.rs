//! The report as JUnit XML: a suite a group, a case a key (gates.md 12).
//!
//! Duty: the XML that CI servers read. Guarantee: well-formed whatever names and texts hold; attributes and elements of the
//! common schema only. Left to others: the lines (`report`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Line, Report};
use crate::cli::gates::worth::{FailOn, Worth};

#[derive(Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

/// What a key is in JUnit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Passed,
    Failure(&'static str),
    Error,
    Skipped,
}

/// Renders it.
pub(super) fn render(report: &Report) -> String {
    let mut groups: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in &report.lines {
        groups.entry(&line.group).or_default().push(line);
    }
    let mut suites = String::new();
    let mut all = Counts::default();
    for (group, lines) in &groups {
        let (mut cases, mut counts) = (String::new(), Counts::default());
        for line in lines {
            case(line, report.fail_on, &mut cases, &mut counts);
        }
        suite(group, &cases, &counts, &mut suites);
        all.add(&counts);
    }
    // What no key says must fail the build as well.
    let mut overall = String::new();
    let mut counts = Counts::default();
    if report.lines.is_empty() {
        error_case("gates run", "spans", &report.sum(), &mut overall, &mut counts);
    }
    for (gate, why) in &report.overflows {
        error_case(gate, "limit", why, &mut overall, &mut counts);
    }
    if counts.tests > 0 {
        suite("weavergen", &overall, &counts, &mut suites);
        all.add(&counts);
    }
    let Counts { tests, failures, errors, .. } = all;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"weavergen gates run\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"{errors}\">\n{suites}</testsuites>\n"
    )
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.tests += other.tests;
        self.failures += other.failures;
        self.errors += other.errors;
        self.skipped += other.skipped;
    }
}

fn suite(name: &str, cases: &str, counts: &Counts, out: &mut String) {
    let Counts { tests, failures, errors, skipped } = counts;
    let _ = writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">\n\
         {cases}  </testsuite>",
        escape(name)
    );
}

fn error_case(class: &str, name: &str, why: &str, out: &mut String, counts: &mut Counts) {
    counts.tests += 1;
    counts.errors += 1;
    let (class, name, why) = (escape(class), escape(name), escape(why));
    let _ = writeln!(
        out,
        "    <testcase classname=\"{class}\" name=\"{name}\">\n      <error message=\"{why}\" type=\"not judged\"/>\n    \
         </testcase>"
    );
}

fn case(line: &Line, fail_on: FailOn, out: &mut String, counts: &mut Counts) {
    let case = match line.worth {
        Worth::Passed => Case::Passed,
        Worth::Warned if fail_on == FailOn::Warn => Case::Failure("warn"),
        Worth::Warned => Case::Passed,
        Worth::Failed => Case::Failure("fail"),
        Worth::Error => Case::Error,
        Worth::Skipped => Case::Skipped,
    };
    counts.tests += 1;
    counts.failures += usize::from(matches!(case, Case::Failure(_)));
    counts.errors += usize::from(case == Case::Error);
    counts.skipped += usize::from(case == Case::Skipped);
    let (class, name) = (escape(&line.gate), escape(line.key_shown()));
    let (said, more) = (escape(&line.sentence()), escape(&details(line)));
    let _ = writeln!(out, "    <testcase classname=\"{class}\" name=\"{name}\">");
    let _ = match case {
        Case::Passed => Ok(()),
        Case::Skipped => writeln!(out, "      <skipped message=\"{said}\"/>"),
        Case::Failure(of) => writeln!(out, "      <failure message=\"{said}\" type=\"{of}\">{more}</failure>"),
        Case::Error => {
            // A verdict that is none yet.
            let of = if line.outcome.is_effective() { "pending" } else { line.outcome.as_str() };
            writeln!(out, "      <error message=\"{said}\" type=\"{of}\">{more}</error>")
        }
    };
    if case == Case::Passed {
        let word = if line.worth == Worth::Warned { "warning: " } else { "" };
        let _ = writeln!(out, "      <system-out>{word}{said}\n{more}</system-out>");
    }
    out.push_str("    </testcase>\n");
}

fn details(line: &Line) -> String {
    let evidence = line.evidence_shown();
    let gap = if evidence.is_empty() { "" } else { "\n" };
    format!("{}:{}{gap}{evidence}", line.file, line.line)
}

/// Text that stands anywhere in XML 1.0.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            // XML 1.0 has no way to write these.
            '\u{0}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            _ => out.push(c),
        }
    }
    out
}
