//! `events` of a test.
//!
//! Duty: what happens and when. Guarantee: an event that could have no effect, for its value says so or the daemon is down
//! then, is told. Left to others: what depends on gates, e.g. whether a tick lies there (`cli`).

use super::*;

impl Reading<'_> {
    pub(super) fn events(&self, keys: &Keys<'_>, who: &Who) -> Vec<Event> {
        let read = self.list(keys, "events", |node| self.event(node, who).map(|event| (node.mark.clone(), event)));
        for (_, kill) in &read {
            let What::Kill { up_at_ns } = kill.what else { continue };
            for (mark, event) in &read {
                // A query that fails belongs to a tick, which is closed later.
                let is_hit =
                    !matches!(event.what, What::FailQuery(_)) && kill.at_ns < event.at_ns && event.at_ns < up_at_ns;
                if is_hit {
                    let what = format!("the daemon is down then: line {} kills it", kill.line);
                    self.problems.add(Code::WrongType, mark, who, what, "put it before `kill` or behind `up_at`");
                }
            }
        }
        read.into_iter().map(|(_, event)| event).collect()
    }

    fn event(&self, node: &Node, who: &Who) -> Option<Event> {
        let keys = Keys::of(node, "an event", who.clone(), self.problems)?;
        let at_ns = self.at(&keys, "at");
        let kinds = ["kill", "reload", "fail_query", "close"];
        // Known, so that a slip of one is told with it.
        for key in kinds {
            let _ = keys.entry(key);
        }
        let given: Vec<&str> = kinds.into_iter().filter(|key| keys.is_given(key)).collect();
        if given.len() > 1 || (given.is_empty() && !keys.is_given("receiver")) {
            let what = "an event is one of `kill`, `reload`, `fail_query`, `close`";
            keys.tell(Code::Missing, &node.mark, what, "write one event for each");
        }
        let up_at_ns = keys.is_given("up_at").then(|| self.at(&keys, "up_at"));
        if up_at_ns.is_some() && !given.contains(&"kill") {
            keys.tell(
                Code::WrongType,
                &keys.place("up_at"),
                "`up_at` belongs to `kill`",
                "remove it, or add `kill: true`",
            );
        }
        let what = match given.first() {
            Some(&"kill") => self.kill(&keys, at_ns, up_at_ns),
            Some(&"reload") => keys.entry("reload").map(|_| What::Reload(self.files(&keys, "reload"))),
            Some(&"fail_query") => keys.text("fail_query").map(|(gate, _)| What::FailQuery(gate.to_owned())),
            Some(_) => keys.entry("close").and_then(|entry| self.close(&entry.value, who)),
            None => None,
        };
        keys.finish(&["receiver"]);
        Some(Event { line: node.mark.position().map_or(1, |(line, _)| line), at_ns, what: what? })
    }

    fn kill(&self, keys: &Keys<'_>, at_ns: i64, up_at_ns: Option<i64>) -> Option<What> {
        match (keys.boolean("kill"), up_at_ns) {
            (None, _) => None,
            (Some(false), _) => {
                keys.tell(
                    Code::WrongType,
                    &keys.place("kill"),
                    "`kill` is false",
                    "remove the event, or write `kill: true`",
                );
                None
            }
            (Some(true), Some(up_at_ns)) if up_at_ns >= at_ns => Some(What::Kill { up_at_ns }),
            (Some(true), _) => {
                let next = "write e.g. `{ at: 6m, kill: true, up_at: 7m }`";
                keys.tell(Code::Missing, &keys.mark, "`kill` needs an `up_at` that is not before it", next);
                None
            }
        }
    }

    fn close(&self, node: &Node, who: &Who) -> Option<What> {
        let close = Keys::of(node, "`close`", who.clone(), self.problems)?;
        close.required("gate", "name the gate");
        close.required("reason", "say why");
        let what = What::Close {
            gate: close.text("gate").map(|(gate, _)| gate.to_owned()).unwrap_or_default(),
            key: key(&close),
            reason: close.text("reason").map(|(reason, _)| reason.to_owned()).unwrap_or_default(),
        };
        close.finish(&[]);
        Some(what)
    }
}
