//! `sql`: one statement, its rows as the result (bpmn.md 10).
//!
//! Duty: headers → one call of the query gateway → rows as JSON. Guarantee: values are bound, never pasted; a file is
//! taken from below `queries/` and from nowhere else; rows and time are limited by the gateway. Left to others: the
//! statement (`query`).

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::schema::Headers;
use super::{Job, Outcome};
use crate::query::library::Library;
use crate::query::render::value::write_json;
use crate::query::{Answer, Error, Gateway, Limits, Params, Statement};

/// The handler; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sql {
    gateway: Gateway,
    queries: Library,
}

impl Sql {
    /// A handler that runs statements by `gateway`.
    pub fn new(gateway: Gateway, queries: Library) -> Self {
        Self { gateway, queries }
    }

    /// Runs one attempt.
    pub async fn run(&self, job: Job, cancel: CancellationToken) -> Outcome {
        let asked = match self.asked(&job) {
            Ok(asked) => asked,
            Err(message) => return Outcome::Failed { message, retryable: false, backoff: None },
        };
        let work = async {
            match tokio::time::timeout(job.timeout, self.rows(&asked)).await {
                Ok(done) => done,
                Err(_) => Err(Outcome::Failed {
                    message: format!(
                        "the statement took longer than the header `timeout`, {} s",
                        job.timeout.as_secs_f64()
                    ),
                    retryable: true,
                    backoff: None,
                }),
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = cancel.cancelled() => {
                return Outcome::Failed { message: "the job was cancelled".to_owned(), retryable: false, backoff: None };
            }
        };
        match done {
            Ok((rows, truncated)) => Outcome::Completed(asked.result(rows, truncated)),
            Err(outcome) => outcome,
        }
    }

    fn asked(&self, job: &Job) -> Result<Asked, String> {
        let headers = Headers::of("sql", &job.headers)?;
        let (sql, name) = match (headers.text("query")?, headers.text("queryFile")?) {
            (Some(sql), None) => (sql, None),
            (None, Some(file)) => {
                let sql = self.queries.text(&file).map_err(|why| format!("header `queryFile`: {why}"))?;
                (sql, Some(file))
            }
            (None, None) => return Err("header `query` or `queryFile` of job type `sql` is required".to_owned()),
            (Some(_), Some(_)) => return Err("headers `query` and `queryFile` exclude each other".to_owned()),
        };
        let params = match headers.value("params") {
            Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            other => other.unwrap_or_default(),
        };
        let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        let params =
            if empty(&params) { Params::None } else { Params::from_json(&params).map_err(|e| sentence(&e))? };
        let single = headers.boolean("single")?;
        let max_rows = headers.number("maxRows")?.unwrap_or(1000).max(1);
        Ok(Asked { sql, name, params, single, max_rows: if single { 1 } else { max_rows } })
    }

    async fn rows(&self, asked: &Asked) -> Result<(Vec<Value>, bool), Outcome> {
        let limits = Limits { rows: Some(asked.max_rows), ..Limits::default() };
        let statement =
            Statement { sql: asked.sql.clone(), params: asked.params.clone(), limits, ..Statement::default() };
        let mut answer = self.gateway.run(statement).await.map_err(|error| asked.failed(&error))?;
        let max_bytes = answer.max_bytes;
        let (mut rows, mut bytes, mut cut) = (Vec::new(), 0_u64, false);
        while let Some(batch) = next(&mut answer).await.map_err(|error| asked.failed(&error))? {
            for at in 0..batch.num_rows() {
                let mut row = Map::new();
                for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                    let mut text = Vec::new();
                    let written = write_json(column, at, &mut text).map_err(|error| error.to_string());
                    let value = written.and_then(|()| serde_json::from_slice(&text).map_err(|error| error.to_string()));
                    let value = value.map_err(|why| asked.never(&format!("column `{}`: {why}", field.name())))?;
                    bytes += text.len() as u64;
                    row.insert(field.name().clone(), value);
                }
                if bytes > max_bytes {
                    cut = true;
                    break;
                }
                rows.push(Value::Object(row));
            }
            if cut {
                break;
            }
        }
        Ok((rows, cut || answer.truncated))
    }
}

/// Boxed: the gateway's future is large.
async fn next(answer: &mut Answer) -> Result<Option<arrow::array::RecordBatch>, Error> {
    Box::pin(answer.next()).await
}

#[derive(Debug)]
struct Asked {
    sql: String,
    /// The file, for messages.
    name: Option<String>,
    params: Params,
    single: bool,
    max_rows: u64,
}

impl Asked {
    fn result(&self, rows: Vec<Value>, truncated: bool) -> Map<String, Value> {
        let result = if self.single {
            json!({"row": rows.into_iter().next(), "truncated": truncated})
        } else {
            json!({"rows": rows, "truncated": truncated})
        };
        result.as_object().cloned().unwrap_or_default()
    }

    fn failed(&self, error: &Error) -> Outcome {
        let of = self.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        Outcome::Failed {
            message: format!("{of}{}", sentence(error)),
            retryable: error.code.class().is_retryable(),
            backoff: None,
        }
    }

    fn never(&self, why: &str) -> Outcome {
        let of = self.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        Outcome::Failed { message: format!("{of}{why}"), retryable: false, backoff: None }
    }
}

fn sentence(error: &Error) -> String {
    let hint = error.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{}: {}{hint}", error.code.as_str(), error.message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::query::Config;
    use crate::query::tests::fixture::{self, Span};

    const HOSTILE: &str = "it's; DROP TABLE spans --";

    fn handler(dir: Option<PathBuf>) -> Sql {
        let spans: Vec<Span> = (1..=5)
            .map(|id| Span { name: "a", duration: 1_000, ..Span::new(1, id) }.with("app.plan", HOSTILE))
            .collect();
        let gateway = fixture::gateway(&spans, Config { threads: 2, ..Config::default() });
        let builtin = BTreeMap::from([
            ("learn/a.sql".to_owned(), "SELECT count(*) AS n FROM spans WHERE name = $name".to_owned()),
            ("learn/b.sql".to_owned(), "SELECT 'builtin' AS b".to_owned()),
        ]);
        Sql::new(gateway, Library::new(builtin, dir))
    }

    async fn run(sql: &Sql, headers: Value) -> Result<Value, (String, bool)> {
        let job = Job {
            r#type: "sql".into(),
            key: 1,
            run: 1,
            process: "p".into(),
            element: "e".into(),
            element_key: 1,
            attempt: 1,
            effect_key: "k".into(),
            traceparent: String::new(),
            depth: 1,
            headers: headers.as_object().unwrap().clone().into_iter().collect(),
            variables: Map::new(),
            since_ms: 0,
            first_activated_ms: 0,
            timeout: Duration::from_secs(60),
        };
        match sql.run(job, CancellationToken::new()).await {
            Outcome::Completed(result) => Ok(Value::Object(result)),
            Outcome::Failed { message, retryable, .. } => Err((message, retryable)),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn rows_come_as_json_and_are_cut_at_max_rows() {
        let sql = handler(None);
        let query = "SELECT span_id, name, 1.5 AS d, true AS t, NULL AS u FROM spans ORDER BY span_id";
        let all = run(&sql, json!({"query": query})).await.unwrap();
        assert_eq!((all["rows"].as_array().unwrap().len(), &all["truncated"]), (5, &json!(false)));
        let row = &all["rows"][0];
        assert_eq!(
            (&row["name"], &row["d"], &row["t"], &row["u"]),
            (&json!("a"), &json!(1.5), &json!(true), &Value::Null)
        );
        let two = run(&sql, json!({"query": query, "maxRows": 2})).await.unwrap();
        assert_eq!((two["rows"].as_array().unwrap().len(), &two["truncated"]), (2, &json!(true)));
        let one = run(&sql, json!({"query": query, "single": true})).await.unwrap();
        assert_eq!((&one["row"], one.get("rows")), (row, None));
        let none = run(&sql, json!({"query": "SELECT 1 AS x WHERE false", "single": "true"})).await.unwrap();
        assert_eq!(none, json!({"row": null, "truncated": false}));
    }

    #[tokio::test]
    async fn values_are_bound_whatever_they_say() {
        let sql = handler(None);
        let query = "SELECT count(*) AS n FROM spans WHERE attributes['app.plan'] = $plan";
        let found = run(&sql, json!({"query": query, "params": {"plan": HOSTILE}, "single": true})).await.unwrap();
        assert_eq!(found["row"]["n"], 5);
        let listed = run(&sql, json!({"query": "SELECT $1 AS x", "params": "[\"y\"]", "single": true})).await.unwrap();
        assert_eq!(listed["row"]["x"], "y");
    }

    #[tokio::test]
    async fn a_file_is_taken_from_below_queries_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("learn")).unwrap();
        std::fs::write(dir.path().join("learn/b.sql"), "SELECT 'mine' AS b").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("out.sql")).unwrap();
        let sql = handler(Some(dir.path().to_owned()));
        let of = |file: &str| json!({"queryFile": file, "single": true});
        assert_eq!(run(&sql, of("learn/b.sql")).await.unwrap()["row"]["b"], "mine");
        let named = json!({"queryFile": "learn/a.sql", "single": true, "params": {"name": "a"}});
        assert_eq!(run(&sql, named).await.unwrap()["row"]["n"], 5);
        for (file, want) in [
            ("../x.sql", "no path below"),
            ("/etc/passwd", "no path below"),
            ("out.sql", "leads out of"),
            ("learn/c.sql", "there is no `learn/c.sql`"),
        ] {
            let (text, retryable) = run(&sql, of(file)).await.unwrap_err();
            assert!(!retryable && text.contains(want), "{text}");
        }
    }

    #[tokio::test]
    async fn a_wrong_statement_fails_for_good_with_the_gateways_sentence() {
        let sql = handler(None);
        for (headers, want) in [
            (json!({"query": "SELECT nme FROM spans"}), "sql.unknown_column"),
            (json!({"query": "DROP TABLE spans"}), "sql.not_allowed"),
            (json!({"query": "SELECT $a"}), "sql.argument"),
            (json!({"query": "SELECT 1", "queryFile": "learn/b.sql"}), "exclude each other"),
            (json!({}), "is required"),
            (json!({"query": "SELECT $a", "params": {"a": [1]}}), "is an array or object"),
        ] {
            let (text, retryable) = run(&sql, headers).await.unwrap_err();
            assert!(!retryable && text.contains(want), "{text}");
        }
    }
}
