//! The stop of a real daemon.

use std::time::Duration;

use crate::daemon::{Daemon, block_on};

#[test]
fn an_answer_that_has_begun_is_whole_although_the_daemon_is_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    // Far more than the system keeps between the two.
    let sql = "SELECT value, repeat('x', 4000) AS padding FROM generate_series(1, 9000)";
    let url = daemon.url("api", "/api/v1/sql?format=ndjson");
    let (text, code) = block_on(async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut response = client.post(url).body(sql).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut bytes = response.chunk().await.unwrap().unwrap().to_vec();
        let stopping = std::thread::spawn(move || daemon.stop());
        // A daemon that nothing keeps has ended by then.
        tokio::time::sleep(Duration::from_secs(3)).await;
        while let Some(piece) = response.chunk().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        (String::from_utf8(bytes).unwrap(), stopping.join().unwrap())
    });
    assert_eq!((text.matches("xxx\"").count(), code), (9_000, 0));
}
