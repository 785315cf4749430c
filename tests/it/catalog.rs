//! The catalogue's relations with the built binary: in a daemon, after a stop, after a kill, and in the folder alone.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::daemon::{BINARY, Daemon, block_on};

/// A daemon that writes no spans of its own and flushes only when asked.
fn daemon(data: &Path) -> Daemon {
    let flags = ["--set=service::telemetry::traces::level=none", "--set=storage::memtable::flush_after=10m"];
    let daemon = Daemon::start_with(data, &flags);
    daemon.wait_ready();
    daemon
}

fn done(args: &[&str]) -> String {
    let output = Command::new(BINARY).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn load(daemon: &Daemon, seed: &str) {
    done(&["loadgen", "--traces", "40", "--seed", seed, "--endpoint", &daemon.grpc()]);
}

/// Each relation, and the same counted over the spans.
const SAME: [(&str, &str); 3] = [
    (
        "SELECT service_name, spans, errors, first_seen, last_seen FROM services ORDER BY 1",
        "SELECT service_name, count(*), count(*) FILTER (WHERE status_code = 'error'), min(start_time), max(start_time) \
         FROM spans GROUP BY 1 ORDER BY 1",
    ),
    (
        "SELECT service_name, name, kind, spans, errors FROM operations ORDER BY 1, 2, 3",
        "SELECT service_name, name, kind, count(*), count(*) FILTER (WHERE status_code = 'error') \
         FROM spans GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    ),
    (
        "SELECT key, rows FROM attribute_keys WHERE level = 'attributes' ORDER BY 1",
        "SELECT key, count(*) FROM (SELECT unnest(attr_keys(attributes)) AS key FROM spans) GROUP BY 1 ORDER BY 1",
    ),
];

fn is_whole(ask: impl Fn(&str) -> Vec<Value>, at: &str) {
    for (catalogue, counted) in SAME {
        let rows = ask(catalogue);
        assert!(!rows.is_empty(), "{at}");
        assert_eq!(rows, ask(counted), "{at}: {catalogue}");
    }
}

fn in_folder(data: &Path, at: &str) {
    let ask = |sql: &str| -> Vec<Value> {
        let out = done(&["sql", "-o", "json", "--data", data.to_str().unwrap(), sql]);
        serde_json::from_str::<Value>(&out).unwrap()["rows"].as_array().unwrap().clone()
    };
    is_whole(ask, at);
}

fn files(data: &Path) -> usize {
    std::fs::read_dir(data.join("catalog")).map_or(0, Iterator::count)
}

#[test]
fn the_catalogue_counts_every_span_once_through_flush_stop_and_kill_and_in_the_folder_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let first = daemon(&data);
    load(&first, "1");
    is_whole(|sql| first.rows(sql), "in memory");
    done(&["store", "flush", "--url", &first.url("api", "")]);
    load(&first, "2");
    is_whole(|sql| first.rows(sql), "in parts and memory");
    in_folder(&data, "beside the daemon");
    let schema: Value =
        block_on(async { reqwest::get(first.url("api", "/api/v1/schema")).await.unwrap().json().await.unwrap() });
    let keys = schema["attribute_keys"].as_array().unwrap();
    let route = serde_json::json!({"level": "attributes", "key": "http.route", "type": "TEXT"});
    assert!(keys.contains(&route), "{keys:?}");
    assert_eq!(first.stop(), 0);
    assert_eq!(files(&data), 1, "a stop writes it");
    in_folder(&data, "after a stop");

    let second = daemon(&data);
    is_whole(|sql| second.rows(sql), "after a stop");
    load(&second, "3");
    done(&["store", "flush", "--url", &second.url("api", "")]);
    load(&second, "4");
    second.kill();
    in_folder(&data, "after a kill");
    let third = daemon(&data);
    is_whole(|sql| third.rows(sql), "after a kill");
    let listed = done(&["store", "ls", "-o", "csv", "--url", &third.url("api", "")]);
    assert!(listed.contains("catalogue,catalog/0000000000"), "{listed}");
    let stats = done(&["store", "stats", "-o", "csv", "--url", &third.url("api", "")]);
    // That of the stop, and perhaps one for what the kill left to count.
    let kept = stats.lines().find_map(|line| line.strip_prefix("files,catalogue,")?.split(',').next()?.parse().ok());
    assert!(matches!(kept, Some(1..=3)), "{stats}");
    assert_eq!(third.stop(), 0);

    // Without any file of it.
    std::fs::remove_dir_all(data.join("catalog")).unwrap();
    in_folder(&data, "counted again");
    let fourth = daemon(&data);
    is_whole(|sql| fourth.rows(sql), "counted again");
    assert_eq!(fourth.stop(), 0);
    assert_eq!(files(&data), 1, "the last stop");
    let verified = done(&["store", "verify", "--data", data.to_str().unwrap(), "-o", "box"]);
    assert!(verified.trim_end().ends_with(": whole"), "{verified}");
}
