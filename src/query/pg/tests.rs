//! Claims about the surface as a whole, by a client that writes its own bytes.

mod bounds;
mod fuzz;
mod names;
mod sessions;
mod tools;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::query::Config;
use crate::query::tests::fixture::{self, Span};

const LONG: Duration = Duration::from_secs(30);

struct Server {
    address: SocketAddr,
    gateway: Gateway,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn server_of(spans: &[Span], config: Config, access: Access) -> Server {
    server_on("127.0.0.1:0", spans, config, access).await
}

async fn server_on(endpoint: &str, spans: &[Span], config: Config, access: Access) -> Server {
    let gateway = fixture::gateway(spans, config);
    let listener = TcpListener::bind(endpoint).await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let stop = CancellationToken::new();
    let state = State::try_new(gateway.clone(), Arc::new(access), Clock::manual(fixture::NOW, 1)).unwrap();
    tokio::spawn(serve(vec![listener], state, stop.clone()));
    Server { address, gateway, stop }
}

async fn server() -> Server {
    let spans: Vec<Span> = (1..=5).map(|id| Span::new(1, id)).collect();
    server_of(&spans, Config { threads: 2, ..Config::default() }, Access::default()).await
}

/// A message of the server: its kind and body.
type Said = (char, Vec<u8>);

struct Client(TcpStream);

impl Client {
    async fn connect(server: &Server) -> Self {
        Self(TcpStream::connect(server.address).await.unwrap())
    }

    /// A client that is logged in.
    async fn ready(server: &Server) -> Self {
        let mut client = Self::connect(server).await;
        client.startup(&[("user", "me"), ("database", "default")]).await;
        let said = client.until_ready().await;
        assert_eq!(said.first().unwrap().0, 'R', "{said:?}");
        client
    }

    async fn startup(&mut self, parameters: &[(&str, &str)]) {
        let mut body = vec![0, 3, 0, 0];
        for (name, value) in parameters {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        self.packet(&body).await;
    }

    async fn packet(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        self.0.write_all(&[&length, body].concat()).await.unwrap();
    }

    async fn send(&mut self, kind: char, body: &[u8]) {
        self.0.write_all(&[kind as u8]).await.unwrap();
        self.packet(body).await;
    }

    async fn query(&mut self, sql: &str) -> Vec<Said> {
        self.send('Q', &[sql.as_bytes(), b"\0"].concat()).await;
        self.until_ready().await
    }

    async fn next(&mut self) -> Option<Said> {
        let mut head = [0; 5];
        let read = tokio::time::timeout(LONG, self.0.read_exact(&mut head)).await.expect("the server answers");
        read.ok()?;
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).await.ok()?;
        Some((char::from(head[0]), body))
    }

    async fn until_ready(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        while let Some(message) = self.next().await {
            let ready = message.0 == 'Z';
            said.push(message);
            if ready {
                break;
            }
        }
        said
    }

    /// What is left until the server closes.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(LONG, self.0.read_to_end(&mut rest)).await.expect("the server closes");
        rest
    }
}

fn kinds(said: &[Said]) -> String {
    said.iter().map(|(kind, _)| *kind).collect()
}

/// Fields of the first error or notice.
fn told(said: &[Said]) -> BTreeMap<char, String> {
    let Some((_, body)) = said.iter().find(|(kind, _)| matches!(kind, 'E' | 'N')) else { return BTreeMap::new() };
    let fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    fields.map(|field| (char::from(field[0]), String::from_utf8_lossy(&field[1..]).into_owned())).collect()
}

fn state_of(said: &[Said]) -> String {
    told(said).remove(&'C').unwrap_or_default()
}

/// Values of rows as text.
fn rows(said: &[Said]) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    for (_, body) in said.iter().filter(|(kind, _)| *kind == 'D') {
        let mut at = 2;
        let mut row = Vec::new();
        while at < body.len() {
            let length = i32::from_be_bytes(body[at..at + 4].try_into().unwrap());
            at += 4;
            match usize::try_from(length) {
                Ok(length) => {
                    row.push(Some(String::from_utf8_lossy(&body[at..at + length]).into_owned()));
                    at += length;
                }
                Err(_) => row.push(None),
            }
        }
        rows.push(row);
    }
    rows
}

fn one(said: &[Said]) -> String {
    rows(said).first().and_then(|row| row.first().cloned().flatten()).unwrap_or_else(|| format!("{said:?}"))
}

fn endless() -> String {
    let joins = (0..12).map(|n| format!("CROSS JOIN spans s{n} ")).collect::<String>();
    format!("SELECT count(*) FROM spans a {joins} WHERE a.duration_ns + s9.duration_ns <> 7")
}

async fn crowded() -> Server {
    let spans: Vec<Span> = (1..=60).map(|id| Span::new(1, id)).collect();
    server_of(&spans, Config { threads: 2, ..Config::default() }, Access::default()).await
}

#[tokio::test]
async fn hostile_statements_are_refused_here_too() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let mut passed = Vec::new();
    // These are commands of a connection here, without any effect beyond it, or about the catalogue.
    let harmless =
        ["SET ", "RESET ", "SHOW ", "BEGIN", "START ", "COMMIT", "ROLLBACK", "SAVEPOINT ", "DEALLOCATE ", "DISCARD "];
    for line in
        include_str!("../gateway/hostile.txt").lines().filter(|line| !line.is_empty() && !line.starts_with("## "))
    {
        let sql = line.replace("\\n", "\n");
        let said = client.query(&sql).await;
        // Several statements may come in one text here, each guarded by itself.
        let is_command = command::pieces(&sql).is_ok_and(|pieces| pieces.len() > 1)
            || harmless.iter().any(|start| sql.trim_start().to_uppercase().starts_with(start));
        match state_of(&said).as_str() {
            "XX000" => passed.push(format!("{line}: {:?}", told(&said))),
            "" if is_command && !format!("{:?}", rows(&said)).contains("datafusion") => {}
            "" => passed.push(format!("{line}: {:?}", rows(&said))),
            _ => {}
        }
        if said.last().is_some_and(|(_, body)| body != b"I") {
            client.query("ROLLBACK").await;
        }
    }
    assert!(passed.is_empty(), "{}", passed.join("\n"));
    assert_eq!(one(&client.query("SELECT count(*) FROM spans").await), "5");
    assert!(!std::path::Path::new("/tmp/weavergen-escape").exists());
}

#[tokio::test]
async fn each_error_has_its_state_and_its_place() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let cases = [
        ("SELEC 1", "42601"),
        ("SELECT 'open", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nme FROM spans", "42703"),
        ("SELECT no_such(1)", "42883"),
        ("SELECT * FROM spans WHERE trace_id = 'abc'", "22023"),
        ("DROP TABLE spans", "42501"),
        ("INSERT INTO spans VALUES (1)", "42501"),
        ("DECLARE c CURSOR FOR SELECT 1", "0A000"),
        ("SHOW no_such", "42704"),
        ("SET client_encoding = 'LATIN1'", "22023"),
        ("DEALLOCATE nothing", "26000"),
    ];
    for (sql, expected) in cases {
        let said = client.query(sql).await;
        assert_eq!(state_of(&said), expected, "{sql}: {:?}", told(&said));
        assert!(!told(&said).get(&'M').unwrap().is_empty(), "{sql}");
    }
    let deep = format!("SELECT {}1{}", "(".repeat(300), ")".repeat(300));
    assert_eq!(state_of(&client.query(&deep).await), "54001");
    // A place is in characters of the whole text.
    let said = client.query("SELECT 'é'; SELECT nme FROM spans").await;
    assert_eq!(told(&said).get(&'P').map(String::as_str), Some("20"), "{:?}", told(&said));
    assert!(told(&said).get(&'H').unwrap().contains("`name`"));
}

#[tokio::test]
async fn a_transaction_is_kept_and_one_that_failed_waits_for_its_end() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let mut step = async |sql: &str| {
        let said = client.query(sql).await;
        let state = char::from(said.last().unwrap().1[0]);
        let tag = said
            .iter()
            .find(|(kind, _)| *kind == 'C')
            .map(|(_, body)| String::from_utf8_lossy(body).trim_end_matches('\0').to_owned());
        (tag.unwrap_or_else(|| state_of(&said)), state)
    };
    let of = |tag: &str, state: char| (tag.to_owned(), state);
    assert_eq!(step("BEGIN").await, of("BEGIN", 'T'));
    assert_eq!(step("SELECT 1").await, of("SELECT 1", 'T'));
    assert_eq!(step("SELECT nme FROM spans").await, of("42703", 'E'));
    assert_eq!(step("SELECT 1").await, of("25P02", 'E'));
    assert_eq!(step("SHOW TimeZone").await, of("25P02", 'E'));
    assert_eq!(step("COMMIT").await, of("ROLLBACK", 'I'));
    assert_eq!(step("START TRANSACTION READ ONLY").await, of("START TRANSACTION", 'T'));
    assert_eq!(step("SAVEPOINT a").await, of("SAVEPOINT", 'T'));
    assert_eq!(step("SELECT 1 +").await.1, 'E');
    assert_eq!(step("ROLLBACK TO SAVEPOINT a").await, of("ROLLBACK", 'T'));
    assert_eq!(step("COMMIT").await, of("COMMIT", 'I'));
    assert_eq!(step("; -- nothing").await.1, 'I');
}

#[tokio::test]
async fn statements_of_one_text_are_guarded_each_and_share_the_cap_of_rows() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let said = client.query("SELECT 1; SELECT 'a;b' AS x; DROP TABLE spans; SELECT 3").await;
    assert_eq!(kinds(&said), "TDCTDCEZ");
    let many = "SELECT * FROM generate_series(1, 600000); SELECT * FROM generate_series(1, 600000)";
    let said = client.query(many).await;
    assert_eq!(said.iter().filter(|(kind, _)| *kind == 'D').count(), 1_000_000);
    assert!(told(&said).get(&'M').unwrap().contains("left out"), "{:?}", told(&said));
    let tags: Vec<_> = said
        .iter()
        .filter(|(kind, _)| *kind == 'C')
        .map(|(_, body)| String::from_utf8_lossy(body).into_owned())
        .collect();
    assert_eq!(tags, ["SELECT 600000\0", "SELECT 400000\0"]);
}

fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [name.as_bytes(), b"\0", sql.as_bytes(), b"\0"].concat();
    body.extend(u16::try_from(types.len()).unwrap().to_be_bytes());
    types.iter().for_each(|of| body.extend(of.to_be_bytes()));
    body
}

fn bind(portal: &str, statement: &str, values: &[Option<&[u8]>], binary: bool) -> Vec<u8> {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0"].concat();
    let format: u16 = binary.into();
    body.extend(1_u16.to_be_bytes());
    body.extend(format.to_be_bytes());
    body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        match value {
            Some(value) => {
                body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend(*value);
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    body.extend(1_u16.to_be_bytes());
    body.extend(format.to_be_bytes());
    body
}

fn execute(portal: &str, most: i32) -> Vec<u8> {
    [portal.as_bytes(), b"\0", &most.to_be_bytes()].concat()
}

#[tokio::test]
async fn parameters_are_inferred_bound_and_never_read_as_sql() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let sql = "SELECT $1 AS who, count(*) FROM spans WHERE duration_ns >= $2 AND name <> ALL ($3) AND start_time < $4";
    client.send('P', &parse("s", sql, &[])).await;
    client.send('D', b"Ss\0").await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    assert_eq!(kinds(&said), "1tTZ", "{:?}", told(&said));
    let wanted: Vec<u8> =
        [4_u16.to_be_bytes().to_vec(), [25_u32, 20, 1009, 1184].map(u32::to_be_bytes).concat()].concat();
    assert_eq!(said[1].1, wanted);
    let hostile = b"'; DROP TABLE spans; --";
    let values: [Option<&[u8]>; 4] =
        [Some(hostile), Some(b"0"), Some(b"{nobody,\"x,y\"}"), Some(b"2100-01-01 00:00:00+00")];
    client.send('B', &bind("", "s", &values, false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    assert_eq!(kinds(&said), "2DCZ", "{:?}", told(&said));
    assert_eq!(rows(&said), [[Some("'; DROP TABLE spans; --".to_owned()), Some("5".to_owned())]]);
    // In binary, and NULL.
    client.send('P', &parse("", "SELECT $1::bigint + 1, $2::text IS NULL", &[20, 25])).await;
    client.send('B', &bind("", "", &[Some(&41_i64.to_be_bytes()), None], true)).await;
    client.send('D', b"P\0").await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    assert_eq!(kinds(&said), "12TDCZ", "{:?}", told(&said));
    assert_eq!(said[3].1[6..14], 42_i64.to_be_bytes());
    assert_eq!(said[3].1[18], 1);
}

#[tokio::test]
async fn a_portal_pauses_and_goes_on_and_an_error_ends_its_group() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    client.query("BEGIN").await;
    client.send('P', &parse("", "SELECT * FROM generate_series(1, 5)", &[])).await;
    client.send('B', &bind("p", "", &[], false)).await;
    for _ in 0..4 {
        client.send('E', &execute("p", 2)).await;
    }
    client.send('S', b"").await;
    assert_eq!(kinds(&client.until_ready().await), "12DDsDDsDCCZ");
    // A wrong value, then messages that are left out up to the end of the group.
    client.send('P', &parse("", "SELECT $1", &[20])).await;
    client.send('B', &bind("", "", &[Some(b"seven")], false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    let said = client.until_ready().await;
    assert_eq!((kinds(&said).as_str(), state_of(&said).as_str()), ("1EZ", "22P02"));
    assert_eq!(said.last().unwrap().1, b"E");
    client.query("ROLLBACK").await;
    for (kind, body, expected) in [
        ('E', execute("nobody", 0), "34000"),
        ('B', bind("", "nobody", &[], false), "26000"),
        ('P', parse("", "SELECT 1; SELECT 2", &[]), "42501"),
        ('B', b"short".to_vec(), "08P01"),
    ] {
        client.send(kind, &body).await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        assert_eq!((kinds(&said).as_str(), state_of(&said).as_str()), ("EZ", expected), "{kind}");
    }
}

#[tokio::test]
async fn a_key_beyond_the_integers_is_a_number_without_a_sign() {
    let keys = [u64::MAX - 1, 1 << 63, 5];
    let spans: Vec<Span> =
        (1..).zip(keys).map(|(id, resource_key)| Span { resource_key, ..Span::new(1, id) }).collect();
    let server = server_of(&spans, Config { threads: 2, ..Config::default() }, Access::default()).await;
    let mut client = Client::ready(&server).await;
    let said = client.query("SELECT * FROM spans").await;
    assert_eq!(rows(&said).len(), 3, "{:?}", told(&said));
    let said = client.query("SELECT resource_key FROM spans ORDER BY resource_key DESC").await;
    // The type of a column stands behind its name, its table and its place there.
    let described = &said[0].1[2 + "resource_key\0".len() + 6..];
    assert_eq!(described[..4], 1700_u32.to_be_bytes(), "numeric");
    let shown: Vec<_> = rows(&said).into_iter().flatten().flatten().collect();
    assert_eq!(shown, ["18446744073709551614", "9223372036854775808", "5"]);
    let filtered = "SELECT count(*) FROM spans WHERE resource_key = 18446744073709551614";
    assert_eq!(one(&client.query(filtered).await), "1");
    // As a value, too: drivers send what has no place in a bigint as a numeric.
    client.send('P', &parse("", "SELECT count(*) FROM spans WHERE resource_key = $1", &[1700])).await;
    client.send('B', &bind("", "", &[Some(b"18446744073709551614")], false)).await;
    client.send('E', &execute("", 0)).await;
    client.send('S', b"").await;
    assert_eq!(one(&client.until_ready().await), "1");
}

#[tokio::test]
async fn a_cancel_stops_a_statement_within_a_second_and_only_with_its_secret() {
    let server = crowded().await;
    let mut client = Client::connect(&server).await;
    client.startup(&[("user", "me")]).await;
    let said = client.until_ready().await;
    let key = said.iter().find(|(kind, _)| *kind == 'K').unwrap().1.clone();
    client.send('Q', &[endless().as_bytes(), b"\0"].concat()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let cancel = async |secret: &[u8]| {
        let mut other = Client::connect(&server).await;
        other.packet(&[&80_877_102_u32.to_be_bytes(), &key[..4], secret].concat()).await;
        assert!(other.rest().await.is_empty());
    };
    cancel(&[0; 4]).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), client.0.peek(&mut [0; 1])).await.is_err());
    let began = Instant::now();
    cancel(&key[4..]).await;
    let said = client.until_ready().await;
    assert_eq!(state_of(&said), "57014", "{said:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(one(&client.query("SELECT count(*) FROM spans").await), "60");
}

#[tokio::test]
async fn a_statement_ends_at_its_time_and_with_its_client() {
    let server = crowded().await;
    let mut client = Client::ready(&server).await;
    assert_eq!(kinds(&client.query("SET statement_timeout = 200").await), "CZ");
    let began = Instant::now();
    assert_eq!(state_of(&client.query(&endless()).await), "57014");
    assert!(began.elapsed() < Duration::from_secs(2));
    // Clients that leave free their slots: there are few, and each of these would hold one for 30 s.
    for _ in 0..20 {
        let mut leaving = Client::ready(&server).await;
        leaving.send('Q', &[endless().as_bytes(), b"\0"].concat()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut last = Client::ready(&server).await;
    assert_eq!(one(&last.query("SELECT count(*) FROM spans").await), "60");
}

#[tokio::test]
async fn only_who_has_a_token_is_let_in_where_one_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef viewer\n").unwrap();
    let config = crate::access::Config { anonymous: Some(None), tokens_file: Some(tokens) };
    let access = Access::open(config, &Clock::manual(0, 1)).unwrap();
    let server = server_of(&[Span::new(1, 1)], Config { threads: 2, ..Config::default() }, access).await;
    let try_with = async |password: &[u8]| {
        let mut client = Client::connect(&server).await;
        client.startup(&[("user", "me"), ("database", "default")]).await;
        assert_eq!(client.next().await, Some(('R', vec![0, 0, 0, 3])));
        client.send('p', password).await;
        client.until_ready().await
    };
    assert!(kinds(&try_with(b"0123456789abcdef\0").await).starts_with('R'));
    // Whatever it calls itself, it is the one that has the token.
    let mut client = Client::connect(&server).await;
    client.startup(&[("user", "anonymous"), ("database", "default")]).await;
    client.next().await;
    client.send('p', b"0123456789abcdef\0").await;
    client.until_ready().await;
    let shown = one(&client.query("SELECT current_user || ' ' || identity FROM system.queries").await);
    assert!(shown.starts_with("anonymous token-"), "{shown}");
    assert_eq!(state_of(&try_with(b"guess\0").await), "28000");
    assert_eq!(state_of(&try_with(b"\0").await), "28000");
    let mut wrong = Client::connect(&server).await;
    wrong.startup(&[("user", "me")]).await;
    wrong.next().await;
    wrong.send('Q', b"SELECT 1\0").await;
    assert!(String::from_utf8_lossy(&wrong.rest().await).contains("08P01"));
}

#[tokio::test]
async fn a_listener_beyond_loopback_wants_a_token_over_loopback_too() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef admin\n").unwrap();
    for (endpoint, wants) in [("127.0.0.1:0", 0), ("0.0.0.0:0", 3)] {
        let config = crate::access::Config { anonymous: None, tokens_file: Some(tokens.clone()) };
        let access = Access::open(config, &Clock::manual(0, 1)).unwrap();
        let server = server_on(endpoint, &[Span::new(1, 1)], Config { threads: 1, ..Config::default() }, access).await;
        let mut client = Client::connect(&server).await;
        client.startup(&[("user", "me"), ("database", "default")]).await;
        assert_eq!(client.next().await, Some(('R', vec![0, 0, 0, wants])), "{endpoint}");
    }
}

#[tokio::test]
async fn wrong_uses_are_told_what_to_do() {
    let server = server().await;
    let mut client = Client::connect(&server).await;
    client.startup(&[("user", "me"), ("database", "other")]).await;
    let said = client.until_ready().await;
    assert_eq!(state_of(&said), "3D000");
    assert!(told(&said).get(&'H').unwrap().contains("default"));
    let mut client = Client::connect(&server).await;
    for _ in 0..2 {
        client.packet(&80_877_103_u32.to_be_bytes()).await;
        let mut answer = [0; 1];
        client.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"N");
    }
    client.packet(&[0, 2, 0, 0, 0]).await;
    assert!(String::from_utf8_lossy(&client.rest().await).contains("08P01"));
}

#[tokio::test]
async fn a_query_is_copied_to_its_client_and_nothing_else_is() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let said = client.query("COPY (SELECT 1, 'a\tb', NULL UNION ALL SELECT 2, '', 'x' ORDER BY 1) TO STDOUT").await;
    assert_eq!(kinds(&said), "HddcCZ", "{:?}", told(&said));
    assert_eq!(said[1].1, b"1\ta\\tb\t\\N\n");
    assert_eq!(state_of(&client.query("COPY spans TO STDOUT").await), "42501");
    assert_eq!(state_of(&client.query("COPY (SELECT 1) TO '/tmp/weavergen-escape'").await), "42501");
    assert_eq!(state_of(&client.query("COPY (DROP TABLE spans) TO STDOUT").await), "42501");
}
