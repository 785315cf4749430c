//! The body of a statement, changed by chance.

use super::*;
use crate::query::tests::mutate::rounds;

#[tokio::test]
async fn mutated_bodies_are_answered_or_refused_with_a_code() {
    let server = plain().await;
    let instant = json!({"timestamp": "2026-01-31T12:00:00Z"});
    let limits = json!({"rows": 10, "bytes": 1000, "time_ms": 500});
    let bodies: Vec<Vec<u8>> = [
        json!({"sql": "SELECT 1 AS one, 'é' AS two"}),
        json!({"sql": "SELECT name FROM spans WHERE name = $1", "params": ["op"], "limits": limits, "tag": "t"}),
        json!({"sql": "SELECT $a, $b, $c", "params": {"a": 1.5, "b": null, "c": instant}}),
        json!({"sql": "SELECT count(*) FROM spans", "hints": {"pushdown": "on"}, "as_of": "2026-01-31T12:00:00.000000Z"}),
        json!("SELECT 1"),
    ]
    .iter()
    .map(|body| body.to_string().into_bytes())
    .chain([b"SELECT name, attributes FROM spans".to_vec()])
    .collect();
    let paths = ["/api/v1/sql", "/api/v1/sql?format=csv", "/api/v1/sql?format=arrow", "/api/v1/sql/check"];
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (mut answered, mut refused) = (0_u32, 0_u32);
    for mut chance in rounds(60) {
        let (path, body) = (chance.pick(&paths), chance.bytes(&bodies));
        let request =
            client.post(format!("http://{}{path}", server.address)).header("content-type", "application/json");
        let told = || format!("{path}: {}", String::from_utf8_lossy(&body));
        // A handler that panics sends no answer.
        let response = request.body(body.clone()).send().await.unwrap_or_else(|error| panic!("{}: {error}", told()));
        let status = response.status().as_u16();
        let said = match response.bytes().await {
            Ok(said) => said,
            // What fails behind the first byte ends without its end.
            Err(_) if status == 200 => continue,
            Err(error) => panic!("{}: {error}", told()),
        };
        if status == 200 {
            answered += 1;
            continue;
        }
        refused += 1;
        assert!((400..500).contains(&status) || [503, 504].contains(&status), "{status}, {}", told());
        let said: Value = serde_json::from_slice(&said).unwrap_or_else(|error| panic!("{}: {error}", told()));
        for member in ["code", "class", "message"] {
            assert!(said["error"][member].as_str().is_some_and(|text| !text.is_empty()), "{said}: {}", told());
        }
    }
    assert!(answered > 3 && refused > 10, "{answered} {refused}");
}
