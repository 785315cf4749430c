//! What makes two gates the same question (gates.md 7, reload).
//!
//! Duty: the hash by which a generation is told from the next. Guarantee: spaces and comments of the SQL do not matter;
//! source, `by`, `window`, `time`, `on: ingest`, `cron`, value and sample columns and the choice of spans do, and nothing else
//! does: ticks of `on: trace` ask what they ask without it. Left to others: what a new generation does (`book`).

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use sha2::{Digest as _, Sha256};

use super::definition::{EventTime, Gate, On};
use super::window::nanos;

/// Hash of the question that `gate` asks.
pub fn question(gate: &Gate) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut text = |part: &str| {
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        hash.update(part.as_bytes());
    };
    text("weavergen.question.v1");
    text(&canonical(&gate.source.sql));
    for column in &gate.by {
        text(column);
    }
    // An empty name is no column, so it ends the list.
    text("");
    text(&gate.value_column);
    text(&gate.n_column);
    text(match gate.time {
        EventTime::End => "end",
        EventTime::Start => "start",
    });
    match gate.on {
        On::Interval | On::Trace => {}
        On::Ingest(_) => text("on ingest"),
    }
    if let Some(cron) = &gate.cron {
        text("cron");
        text(cron.text());
        text(cron.zone());
    }
    hash.update(nanos(gate.window).to_le_bytes());
    hash.update([u8::from(gate.include_pipeline_spans), u8::from(gate.include_own_spans)]);
    hash.finalize().into()
}

/// `sql` as its parser prints it. A loaded gate parses; what did not would be compared as text.
fn canonical(sql: &str) -> String {
    match Parser::parse_sql(&GenericDialect {}, sql) {
        Ok(statements) => statements.iter().map(ToString::to_string).collect::<Vec<_>>().join(";"),
        Err(_) => sql.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::definition::Test;
    use super::super::definition::tests::gate;
    use super::*;
    use crate::clock::cron::Cron;

    fn with(change: impl FnOnce(&mut Gate)) -> [u8; 32] {
        let mut gate = gate("g", Test::Above(0.9));
        gate.by = vec!["a".into(), "b".into()];
        change(&mut gate);
        question(&gate)
    }

    #[test]
    fn spaces_comments_and_rules_do_not_change_the_question() {
        let same = with(|_| {});
        let spaced = "SELECT  avg( duration_ns )\n  AS value -- mean\nFROM spans";
        assert_eq!(with(|g| g.source.sql = spaced.into()), same);
        assert_eq!(with(|g| g.min_samples = 50), same);
        assert_eq!(with(|g| g.hold_for = Duration::from_secs(5)), same);
        assert_eq!(with(|g| g.on = On::Trace), same);
    }

    #[test]
    fn everything_that_changes_the_answer_changes_the_question() {
        let mut all = vec![
            with(|_| {}),
            with(|g| g.source.sql = "SELECT sum(duration_ns) AS value FROM spans".into()),
            with(|g| g.by = vec!["b".into(), "a".into()]),
            with(|g| g.by = vec!["a".into()]),
            with(|g| g.window = Duration::from_secs(61)),
            with(|g| g.time = EventTime::Start),
            with(|g| g.value_column = "v".into()),
            with(|g| g.n_column = "v".into()),
            with(|g| g.cron = Cron::parse("0 9 * * *", "UTC").ok()),
            with(|g| g.cron = Cron::parse("0 9 * * *", "Europe/Berlin").ok()),
            with(|g| g.include_own_spans = true),
            with(|g| g.include_pipeline_spans = true),
        ];
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
