//! One episode of the demo, from the failing gate to the resolved notice.
//!
//! Duty: wait for each of its steps and show it by a query. Guarantee: nothing is shown that the daemon did not say.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::child::{ASK_EVERY, Daemon};
use super::hook::Hook;
use super::stage::Stage;
use super::{say, tell};

/// How long a gate, a run or a recovery may take, of the time that the daemon answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// Watches episodes.
#[derive(Debug)]
pub(super) struct Repair<'a> {
    daemon: &'a Daemon,
    stage: &'a Stage,
    hook: &'a Hook,
}

impl<'a> Repair<'a> {
    /// Over the running demo.
    pub(super) fn new(daemon: &'a Daemon, stage: &'a Stage, hook: &'a Hook) -> Self {
        Self { daemon, stage, hook }
    }

    /// Shows the episode of `service`, its steps numbered from `step`; how many variants were tried.
    pub(super) async fn watch(&mut self, service: &str, step: u32) -> anyhow::Result<u64> {
        let key = format!("service_name={service}");
        let before = std::fs::read_to_string(self.stage.instrumentation(service)).context("the file as it was")?;
        self.failing(service, &key, step).await?;
        let (run, tries) = self.repaired(service, &key, step + 1).await?;
        let after = std::fs::read_to_string(self.stage.instrumentation(service)).context("the file as it is")?;
        say(&format!("{}. what was installed", step + 2))?;
        let changed = similar::TextDiff::from_lines(&before, &after);
        for line in changed.unified_diff().context_radius(1).header("before", "after").to_string().lines() {
            tell(format_args!("   {line}"))?;
        }
        self.recovered(service, &key, step + 3).await?;
        self.observed(run, step + 4).await?;
        Ok(tries)
    }

    async fn failing(&self, service: &str, key: &str, step: u32) -> anyhow::Result<()> {
        say(&format!("{step}. the gate span_completeness fails for {service}"))?;
        let what = format!("an episode of {service}");
        let sql = format!("SELECT 1 FROM gate_state WHERE key = '{key}' AND phase = 'firing'");
        self.daemon.until(&what, PATIENCE, &sql).await?;
        self.daemon
            .show(&format!(
                "SELECT gate, key, phase, level, episode, round(last_value, 3) AS value, fired_at FROM gate_state \
             WHERE key = '{key}'"
            ))
            .await?;
        let lacking = format!(
            "(SELECT trace_id, unnest(semconv_findings) AS f FROM spans WHERE service_name = '{service}' \
             AND resource['weavergen.origin'] IS NULL) WHERE f['id'] = 'required_attribute_not_present'"
        );
        self.daemon
            .show(&format!(
                "SELECT f['key'] AS missing, count(*) AS spans FROM {lacking} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3"
            ))
            .await?;
        let worst = "GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1";
        let worst = self.daemon.rows(&format!("SELECT f['key'] FROM {lacking} {worst}")).await?;
        let worst = worst.first().and_then(|row| row[0].as_str()).unwrap_or_default();
        tell(format_args!("   the worst is {worst}; three traces that lack it:"))?;
        self.daemon
            .show(&format!(
                "SELECT hex(trace_id) AS trace_id FROM {lacking} AND f['key'] = '{worst}' GROUP BY 1 ORDER BY 1 LIMIT 3"
            ))
            .await?;
        let notice = self.told(service, "firing").await?;
        let summary = notice.pointer("/alerts/0/annotations/summary").and_then(Value::as_str).unwrap_or_default();
        tell(format_args!("   the webhook was told once: firing, \"{summary}\""))?;
        Ok(())
    }

    /// Waits for the notice; it must be the only one.
    async fn told(&self, service: &str, status: &str) -> anyhow::Result<Value> {
        let mut left = PATIENCE;
        while self.hook.about(service, status).is_empty() && !left.is_zero() {
            // Only a daemon that is there tells: time in which it is away does not count.
            self.daemon.rows("SELECT 1").await?;
            tokio::time::sleep(ASK_EVERY).await;
            left = left.saturating_sub(ASK_EVERY);
        }
        let mut notices = self.hook.about(service, status);
        ensure!(notices.len() == 1, "{} notices `{status}` about {service}", notices.len());
        Ok(notices.remove(0))
    }

    async fn repaired(&self, service: &str, key: &str, step: u32) -> anyhow::Result<(u64, u64)> {
        say(&format!("{step}. the pipeline `regenerate` repairs it"))?;
        let ended = format!("SELECT run, state FROM pipeline_runs WHERE key = '{key}' AND state <> 'running'");
        let rows = self.daemon.until(&format!("the run of {service}"), PATIENCE, &ended).await?;
        let run = number(&rows[0][0]).context("the run has a key")?;
        self.daemon
            .show(&format!(
                "SELECT name, element_type AS type, state, attempts, \
             round(CAST(ended_at - started_at AS BIGINT) / 1e9, 2) AS seconds FROM pipeline_steps \
             WHERE run = {run} ORDER BY element_key"
            ))
            .await?;
        ensure!(rows[0][1] == "completed", "the run ended {}", rows[0][1]);
        let tried = self.daemon.rows(&format!("SELECT variant FROM feedback WHERE run = {run} ORDER BY at")).await?;
        let names: Vec<_> = tried.iter().filter_map(|row| row[0].as_str()).collect();
        let tries = if tried.len() == 1 { "try" } else { "tries" };
        tell(format_args!("   {} {tries}: {}", tried.len(), names.join(", then ")))?;
        Ok((run, tried.len() as u64))
    }

    async fn recovered(&self, service: &str, key: &str, step: u32) -> anyhow::Result<()> {
        say(&format!("{step}. only new spans that pass close the episode"))?;
        let closed = format!("SELECT 1 FROM gate_episodes WHERE key = '{key}' AND closed IS NOT NULL");
        self.daemon.until(&format!("the recovery of {service}"), PATIENCE, &closed).await?;
        self.daemon
            .show(&format!(
                "SELECT key, episode, opened, closed, level_max, closed_by, pipeline_run FROM gate_episodes \
             WHERE key = '{key}'"
            ))
            .await?;
        self.told(service, "resolved").await?;
        tell("   the webhook was told once: resolved")?;
        let recorded = format!("SELECT 1 FROM feedback WHERE key = '{key}' AND outcome = 'recovered'");
        self.daemon.until("the record of the variant", PATIENCE, &recorded).await?;
        Ok(())
    }

    async fn observed(&self, run: u64, step: u32) -> anyhow::Result<()> {
        say(&format!("{step}. the run is itself a trace, and a drawing"))?;
        let spans = format!("FROM spans WHERE attributes['weavergen.workflow.run.id'] = '{run}'");
        self.daemon.until("the spans of the run", PATIENCE, &format!("SELECT 1 {spans}")).await?;
        self.daemon
            .show(&format!(
                "SELECT name, kind, status_code AS status, round(duration_ms, 1) AS ms {spans} ORDER BY start_time"
            ))
            .await?;
        self.daemon.print(&["pipeline", "export", &run.to_string(), "--mermaid"]).await
    }
}

/// A whole number, also where JSON holds it as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
