//! `codegen`: stage, apply, revert (bpmn.md 10; semconv.md 9.4).
//!
//! Duty: headers → one call of `generate` → its outcome as the result. Guarantee: nothing is written outside the
//! configured roots; the same effect key returns the recorded result; of one output folder one attempt at a time writes.
//! Left to others: rendering, staging, journals (`generate`), loading registries (a function from `app`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::schema::Headers;
use super::{Job, Outcome, roots};
use crate::disk::Disk;
use crate::error::Class;
use crate::generate::{self, Apply, Input, Registry, Revert, Stage, Templates};

/// Loads the registry that a header names, or the configured one for `None`; says in one sentence why not.
pub type Registries = Arc<dyn Fn(Option<&str>) -> Result<Registry, String> + Send + Sync>;

/// Gives the daemon's templates as they are now; says in one sentence why not.
pub type TemplateSet = Arc<dyn Fn() -> Result<Templates, String> + Send + Sync>;

/// The handler; cheap to clone.
#[derive(Clone)]
pub struct Codegen {
    roots: Arc<[PathBuf]>,
    templates: TemplateSet,
    registries: Registries,
    disk: Disk,
}

impl fmt::Debug for Codegen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codegen").field("roots", &self.roots).field("disk", &self.disk).finish_non_exhaustive()
    }
}

/// What the headers ask for.
enum Asked {
    Stage(Box<Stage>),
    /// Renders first when no staging folder is named.
    Apply(Option<Box<Stage>>, Apply),
    Revert(Revert),
}

impl Codegen {
    /// `roots` is `jobs.roots`.
    pub fn new(roots: Vec<PathBuf>, templates: TemplateSet, registries: Registries) -> Self {
        Self { roots: roots.into(), templates, registries, disk: Disk::Os }
    }

    /// The same on another disk.
    #[must_use]
    pub fn on(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    /// Runs one attempt on a thread that may block. A cancelled job is not started; one that began is finished, since
    /// half of it would have to be finished anyway.
    pub async fn run(&self, job: Job, cancel: CancellationToken) -> Outcome {
        if cancel.is_cancelled() {
            return never("the job was cancelled before it began".to_owned());
        }
        let handler = self.clone();
        match tokio::task::spawn_blocking(move || handler.attempt(&job)).await {
            Ok(outcome) => outcome,
            // A repeat with the same effect key finishes or finds what was done.
            Err(error) => Outcome::Unknown { message: format!("code generation broke off: {error}") },
        }
    }

    fn attempt(&self, job: &Job) -> Outcome {
        let asked = match self.asked(job) {
            Ok(asked) => asked,
            Err(message) => return never(message),
        };
        let done = match asked {
            Asked::Stage(stage) => generate::stage(&stage),
            Asked::Apply(None, apply) => generate::apply(&apply),
            Asked::Apply(Some(stage), apply) => generate::stage(&stage).and_then(|staged| {
                let staged = staged.staged.unwrap_or_else(|| apply.staged.clone());
                generate::apply(&Apply { staged, ..apply })
            }),
            Asked::Revert(revert) => generate::revert(&revert),
        };
        match done.map(serde_json::to_value) {
            Ok(Ok(Value::Object(result))) => Outcome::Completed(result),
            Ok(_) => never("the result is no JSON object".to_owned()),
            Err(error) => {
                let retryable = matches!(error.class(), Class::Busy | Class::Unavailable);
                Outcome::Failed { message: error.to_string(), retryable, backoff: None }
            }
        }
    }

    fn asked(&self, job: &Job) -> Result<Asked, String> {
        let headers = Headers::of("codegen", &job.headers)?;
        let text = |name: &str| headers.text(name);
        let mode = headers.word("mode")?;
        if headers.word("generator")? == "command" {
            return Err("header `generator`: command is not supported by weavergen yet; use forge".to_owned());
        }
        let output = text("output")?.unwrap_or_default();
        let output = roots::below(&self.roots, Path::new(&output)).map_err(|why| format!("header `output`: {why}"))?;
        let staged = text("staged")?;
        if staged.is_some() && mode != "apply" {
            return Err(format!("header `staged` goes with mode apply, not {mode}"));
        }
        let (id, disk) = (job.effect_key.clone(), self.disk.clone());
        let expect_clean = headers.boolean("expectClean")?;
        if mode == "revert" {
            return Ok(Asked::Revert(Revert { output, id, overwrite: false, disk }));
        }
        let apply = |staged: PathBuf| Apply {
            output: output.clone(),
            id: id.clone(),
            staged,
            overwrite: false,
            expect_clean,
            disk: disk.clone(),
        };
        if let Some(staged) = staged {
            return Ok(Asked::Apply(None, apply(PathBuf::from(staged))));
        }
        let templates = match text("templates")? {
            Some(dir) => Templates::folder(Path::new(&dir)).map_err(|error| error.to_string())?,
            None => (self.templates)()?,
        };
        let input = Input {
            target: text("target")?.unwrap_or_default(),
            variant: text("variant")?.filter(|variant| !variant.is_empty()),
            templates,
            registry: (self.registries)(text("registry")?.as_deref())?,
            params: headers.map("params")?.into_iter().collect(),
        };
        let stage = Box::new(Stage { output: output.clone(), id: id.clone(), input, expect_clean, disk: disk.clone() });
        if mode == "apply" {
            let folder = output.join(".weavergen").join(&id);
            return Ok(Asked::Apply(Some(stage), apply(folder)));
        }
        Ok(Asked::Stage(stage))
    }
}

fn never(message: String) -> Outcome {
    Outcome::Failed { message, retryable: false, backoff: None }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Map, json};

    use super::*;

    struct Bench {
        dir: tempfile::TempDir,
        codegen: Codegen,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (variant, text) in [("a", "plain {{ params.p }}\n"), ("b", "loud {{ params.p }}\n")] {
                let folder = dir.path().join("templates/registry/t").join(variant);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(
                    folder.join("weaver.yaml"),
                    "templates: [{template: '*.j2', application_mode: single}]\nparams: {p: 1}",
                )
                .unwrap();
                std::fs::write(folder.join("x.txt.j2"), text).unwrap();
            }
            std::fs::create_dir(dir.path().join("root")).unwrap();
            let templates = dir.path().join("templates");
            let codegen = Codegen::new(
                vec![dir.path().join("root")],
                Arc::new(move || Templates::folder(&templates).map_err(|e| e.to_string())),
                Arc::new(|name| match name {
                    None => Ok(Registry { view: json!({"registry": {}}), hash: "h".into() }),
                    Some(name) => Err(format!("no registry `{name}`")),
                }),
            );
            Self { dir, codegen }
        }

        fn headers(&self, more: Value) -> Value {
            let mut headers = json!({"target": "t", "variant": "a", "output": self.dir.path().join("root/out")});
            headers.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            headers
        }

        /// As the engine does: again while the output is held. A process that another test is about to start holds for a
        /// moment what was open when it was forked.
        async fn run(&self, key: &str, more: Value) -> Outcome {
            for _ in 0..100 {
                match self.try_once(key, more.clone()).await {
                    Outcome::Failed { retryable: true, message, .. } if message.starts_with("WG-GEN-034") => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    outcome => return outcome,
                }
            }
            self.try_once(key, more).await
        }

        async fn try_once(&self, key: &str, more: Value) -> Outcome {
            let headers = self.headers(more).as_object().unwrap().clone().into_iter().filter(|(_, v)| !v.is_null());
            let job = Job {
                r#type: "codegen".into(),
                key: 1,
                run: 1,
                process: "p".into(),
                element: "e".into(),
                element_key: 1,
                attempt: 1,
                effect_key: key.into(),
                traceparent: String::new(),
                depth: 1,
                headers: headers.collect(),
                variables: Map::new(),
                since_ms: 0,
                first_activated_ms: 0,
                timeout: Duration::from_secs(60),
            };
            self.codegen.run(job, CancellationToken::new()).await
        }

        async fn done(&self, key: &str, more: Value) -> Map<String, Value> {
            match self.run(key, more).await {
                Outcome::Completed(result) => result,
                other => panic!("{other:?}"),
            }
        }

        async fn fails(&self, key: &str, more: Value) -> (String, bool) {
            match self.run(key, more).await {
                Outcome::Failed { message, retryable, .. } => (message, retryable),
                other => panic!("{other:?}"),
            }
        }

        fn file(&self) -> Option<String> {
            std::fs::read_to_string(self.dir.path().join("root/out/x.txt")).ok()
        }
    }

    #[tokio::test]
    async fn a_staged_variant_is_installed_and_taken_back() {
        let bench = Bench::new();
        let staged = bench.done("k1", json!({"params": {"p": 2}})).await;
        assert_eq!(staged["variant"], "a");
        assert_eq!((&staged["filesChanged"], &staged["added"], &staged["removed"]), (&json!(1), &json!(1), &json!(0)));
        assert_eq!(
            staged["diff"],
            "--- /dev/null\n+++ b/x.txt\n@@ -0,0 +1 @@\n+plain 2\n\\ No newline at end of file\n"
        );
        assert_eq!(staged["diffTruncated"], false);
        assert_eq!(bench.file(), None);
        let applied = bench.done("k2", json!({"mode": "apply", "staged": staged["staged"]})).await;
        assert_eq!((applied["staged"].clone(), bench.file().as_deref()), (Value::Null, Some("plain 2")));
        assert_eq!((&applied["beforeHash"], &applied["afterHash"]), (&staged["beforeHash"], &staged["afterHash"]));
        bench.done("k3", json!({"mode": "apply", "variant": "b"})).await;
        assert_eq!(bench.file().as_deref(), Some("loud 1"));
        assert_eq!(bench.done("k2", json!({"mode": "apply", "staged": staged["staged"]})).await, applied);
        assert_eq!(bench.file().as_deref(), Some("loud 1"), "a repeated key does nothing twice");
        bench.done("k4", json!({"mode": "revert"})).await;
        assert_eq!(bench.file().as_deref(), Some("plain 2"));
    }

    #[tokio::test]
    async fn what_cannot_work_fails_for_good_with_the_reason() {
        let bench = Bench::new();
        let elsewhere = tempfile::tempdir().unwrap();
        for (more, want) in [
            (json!({"output": elsewhere.path()}), "below no folder of `engine.jobs.roots`"),
            (json!({"output": null}), "`output` of job type `codegen` is required"),
            (json!({"target": "u"}), "WG-GEN-002"),
            (json!({"registry": "builtin:none"}), "no registry `builtin:none`"),
            (json!({"generator": "command"}), "not supported by weavergen yet"),
            (json!({"staged": "/x"}), "goes with mode apply"),
            (json!({"mode": "apply", "staged": elsewhere.path()}), "WG-GEN-032"),
            (json!({"mode": "revert"}), "WG-GEN-033"),
        ] {
            let (text, retryable) = bench.fails("k1", more).await;
            assert!(!retryable && text.contains(want), "{text}");
        }
        bench.done("k2", json!({"mode": "apply"})).await;
        std::fs::write(bench.dir.path().join("root/out/x.txt"), "mine").unwrap();
        let (text, retryable) = bench.fails("k3", json!({"expectClean": true})).await;
        assert!(!retryable && text.contains("WG-GEN-031"), "{text}");
    }
}
