//! A connection under openings and messages that were changed by chance.
//!
//! It is served within the test, so that a panic is one of the test.

use super::*;
use crate::query::pg::connection::Connection;
use crate::query::pg::login::login;
use crate::query::pg::wire::{Broken, Wire};
use crate::query::tests::mutate::{Chance, rounds};

/// After this long without a byte, nothing more is sent.
const IDLE: Duration = Duration::from_millis(50);
const KINDS: &[u8] = b"RSKZTDCENnt123sIHdcv";

fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [kind.as_slice(), &length, body].concat()
}

fn openings() -> Vec<Vec<u8>> {
    let number = |code: i32| code.to_be_bytes().to_vec();
    vec![
        b"\0\x03\0\0user\0me\0database\0default\0\0".to_vec(),
        b"\0\x03\0\0user\0me\0options\0-c statement_timeout=5s\0TimeZone\0UTC\0\0".to_vec(),
        b"\0\x03\0\x02user\0me\0_pq_.x\0y\0\0".to_vec(),
        number(80_877_103),
        number(80_877_104),
        [number(80_877_102), number(7), number(9)].concat(),
    ]
}

fn messages() -> Vec<(u8, Vec<u8>)> {
    let query = |sql: &str| (b'Q', [sql.as_bytes(), b"\0"].concat());
    vec![
        query("SELECT name, count(*) FROM spans GROUP BY 1"),
        query("BEGIN; SELECT 1; SET TimeZone = 'UTC'; COMMIT"),
        query("SELECT relname FROM pg_class WHERE relname = 'spans'"),
        query("COPY (SELECT 1, 'a') TO STDOUT"),
        query("SHOW ALL"),
        (b'P', parse("s", "SELECT $1::text, count(*) FROM spans WHERE duration_ns >= $2", &[25, 20])),
        (b'B', bind("p", "s", &[Some(b"x"), Some(b"7")], false)),
        (b'B', bind("", "", &[], true)),
        (b'D', b"Ss\0".to_vec()),
        (b'D', b"Pp\0".to_vec()),
        (b'E', execute("p", 1)),
        (b'C', b"Ss\0".to_vec()),
        (b'H', Vec::new()),
        (b'S', Vec::new()),
        (b'p', b"secret\0".to_vec()),
        (b'd', b"data".to_vec()),
        (b'F', vec![0; 8]),
    ]
}

/// An opening and some messages, most of them changed, most of those within right lengths.
fn sent(chance: &mut Chance) -> Vec<u8> {
    let (openings, messages) = (openings(), messages());
    let mut sent = match chance.below(4) {
        0 => framed(None, &chance.bytes(&openings)),
        1 => [framed(None, chance.pick::<Vec<u8>>(&openings).as_slice()), framed(None, &openings[0])].concat(),
        _ => framed(None, &openings[0]),
    };
    for _ in 0..chance.below(8) {
        let (kind, body) = chance.pick(&messages).clone();
        sent.extend(match chance.below(5) {
            0 => framed(Some(kind), &body),
            1 => chance.bytes(&[framed(Some(kind), &body)]),
            _ => framed(Some(kind), &chance.bytes(&[body])),
        });
    }
    sent.extend(framed(Some(b'S'), &[]));
    sent.extend(framed(Some(b'X'), &[]));
    sent
}

/// Serves one connection, as `serve` does.
async fn serve_one(stream: TcpStream, state: &Arc<State>) {
    let mut wire = Wire::new(stream);
    let broken = match login(&mut wire, state, true).await {
        Ok(None) => None,
        Ok(Some(session)) => {
            let mut connection = Connection::new(wire, state.clone(), session);
            let ended = connection.run(&CancellationToken::new()).await;
            wire = connection.into_wire();
            ended.err()
        }
        Err(broken) => Some(broken),
    };
    if let Some(Broken::Protocol(problem)) = &broken {
        back::error(&mut wire.out, problem);
    }
    wire.close().await;
}

/// All that is said to `sent`, and whether it came to its end.
async fn talk(mut client: TcpStream, sent: &[u8]) -> (Vec<u8>, bool) {
    let _ = client.write_all(sent).await;
    let mut said = Vec::new();
    loop {
        match tokio::time::timeout(IDLE, client.read_buf(&mut said)).await {
            Ok(Ok(0)) => return (said, true),
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return (said, false),
            // It waits for more than there is.
            Err(_) => drop(client.shutdown().await),
        }
    }
}

/// The messages in `said`; what refuses encryption is none.
fn heard(mut said: &[u8]) -> Vec<Said> {
    let mut heard = Vec::new();
    while let Some((kind, rest)) = said.split_first() {
        if *kind == b'N' && rest.first() != Some(&0) {
            said = rest;
            continue;
        }
        assert!(KINDS.contains(kind), "a message of kind {kind}");
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        heard.push((char::from(*kind), rest[4..length].to_vec()));
        said = &rest[length..];
    }
    heard
}

#[tokio::test]
async fn mutated_messages_are_answered_in_whole_messages_and_with_a_state() {
    let spans: Vec<Span> = (1..=5).map(|id| Span::new(1, id)).collect();
    let config = Config { threads: 2, timeout: Duration::from_secs(5), ..Config::default() };
    let gateway = fixture::gateway(&spans, config);
    let access = Arc::new(Access::default());
    let state = Arc::new(State::try_new(gateway, access, Clock::manual(fixture::NOW, 1)).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut ready, mut failed, mut answered) = (0_u32, 0_u32, 0_u32);
    for mut chance in rounds(40) {
        let sent = sent(&mut chance);
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let served = Box::pin(serve_one(accepted.unwrap().0, &state));
        let ((), (said, to_its_end)) = tokio::join!(served, talk(client.unwrap(), &sent));
        // What was not read when the server closed may take what it said along.
        if !to_its_end {
            continue;
        }
        let heard = heard(&said);
        for message in heard.iter().filter(|(kind, _)| *kind == 'E') {
            let state = state_of(std::slice::from_ref(message));
            assert!(state.len() == 5 && state != "XX000", "{:?}: {sent:?}", told(std::slice::from_ref(message)));
        }
        let kinds = kinds(&heard);
        ready += u32::from(kinds.contains('Z'));
        failed += u32::from(kinds.contains('E'));
        answered += u32::from(kinds.contains('C'));
    }
    assert!(ready > 5 && failed > 5 && answered > 0, "{ready} {failed} {answered}");
}
