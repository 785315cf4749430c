//! Claims about what a client can take: bytes, names, places, and the patience of the server.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;

#[tokio::test]
async fn what_a_connection_keeps_is_bounded() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let long = format!("SELECT '{}'", "x".repeat(60_000));
    let mut refused = String::new();
    for n in 0..200 {
        client.send('P', &parse(&format!("s{n}"), &long, &[])).await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        if kinds(&said) == "EZ" {
            refused = state_of(&said);
            break;
        }
    }
    assert_eq!(refused, "53200");
    assert_eq!(kinds(&client.query("DEALLOCATE ALL").await), "CZ");
    client.send('P', &parse("s", &long, &[])).await;
    client.send('S', b"").await;
    assert_eq!(kinds(&client.until_ready().await), "1Z");
}

#[tokio::test]
async fn chains_of_operators_are_refused_before_they_are_parsed() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    for link in ["+1", "! ", "::int8", " IS NULL"] {
        let sql = format!("SELECT $1{}", link.repeat(65_000 / link.len()));
        client.send('P', &parse("", &sql, &[])).await;
        client.send('D', b"S\0").await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        assert_eq!((kinds(&said).as_str(), state_of(&said).as_str()), ("1EZ", "54001"), "{link}: {:?}", told(&said));
        client.send('P', &parse("", &sql, &[])).await;
        client.send('B', &bind("", "", &[Some(b"1")], false)).await;
        client.send('E', &execute("", 0)).await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        assert_eq!((kinds(&said).as_str(), state_of(&said).as_str()), ("12EZ", "54001"), "{link}: {:?}", told(&said));
    }
}

#[tokio::test]
async fn hostile_statements_are_no_harm_when_they_are_only_described() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    for sql in crate::query::tests::hostile() {
        client.send('P', &parse("", &sql, &[])).await;
        client.send('D', b"S\0").await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        assert_ne!(state_of(&said), "XX000", "{sql}: {:?}", told(&said));
    }
    assert_eq!(one(&client.query("SELECT count(*) FROM spans").await), "5");
}

#[tokio::test]
async fn texts_that_functions_of_this_surface_make_longer_are_refused_as_those_of_repeat_are() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let refused = state_of(&client.query("SELECT length(repeat('x', 2000000))").await);
    for call in ["format('%1$s%1$s', ?)", "quote_literal(?)", "quote_nullable(?)", "quote_ident(?)"] {
        let of = |bytes: usize| format!("SELECT length({})", call.replace('?', &format!("repeat('x', {bytes})")));
        let said = client.query(&of(600_000)).await;
        assert_eq!(state_of(&said), refused, "{call}: {:?}", told(&said));
        let said = client.query(&of(100_000)).await;
        assert_eq!(kinds(&said), "TDCZ", "{call}: {:?}", told(&said));
    }
    assert_eq!(one(&client.query("SELECT format('%I.%L %s%%', 'A', 'b', 3)").await), "\"A\".'b' 3%");
}

#[tokio::test]
async fn names_count_among_what_a_connection_keeps() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let name = |n: usize| format!("{n}{}", "x".repeat(60_000));
    let mut kept = 0;
    loop {
        client.send('P', &parse(&name(kept), "SELECT 1", &[])).await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        if kinds(&said) != "1Z" {
            assert_eq!((kinds(&said).as_str(), state_of(&said).as_str()), ("EZ", "53200"));
            break;
        }
        kept += 1;
        assert!(kept < 100, "more than 4 MiB of names");
    }
    assert_eq!(kept, 69, "4 MiB hold so many");
    client.query("DEALLOCATE ALL").await;
    client.query("BEGIN").await;
    client.send('P', &parse("s", "SELECT 1", &[])).await;
    let mut bound = 0;
    let said = loop {
        client.send('B', &bind(&name(bound), "s", &[], false)).await;
        client.send('S', b"").await;
        let said = client.until_ready().await;
        if kinds(&said).contains('E') || bound > 100 {
            break said;
        }
        bound += 1;
    };
    assert_eq!((bound, state_of(&said).as_str()), (69, "53200"));
}

#[tokio::test]
async fn answers_go_out_before_the_message_that_asks_for_them_ends() {
    let server = crowded().await;
    let mut client = Client::ready(&server).await;
    // Settings take no rows of the engine: nothing but the end of each answer lets go of them.
    let text = format!("{}{}", "SHOW ALL; ".repeat(100), endless());
    client.send('Q', &[text.as_bytes(), b"\0"].concat()).await;
    let mut early = vec![0; 100 << 10];
    let read = tokio::time::timeout(Duration::from_secs(10), client.0.read_exact(&mut early)).await;
    assert!(read.is_ok_and(|read| read.is_ok()), "the last statement runs for 30 s, and the first ones wait for it");
}

#[tokio::test]
async fn lengths_are_not_believed() {
    let server = server().await;
    for claimed in [u32::MAX, 0x7fff_ffff, 1 << 20, 10_001, 7, 0] {
        let mut client = Client::connect(&server).await;
        client.0.write_all(&[&claimed.to_be_bytes()[..], &[0, 3, 0, 0]].concat()).await.unwrap();
        let rest = client.rest().await;
        assert_eq!(rest.first(), Some(&b'E'), "{claimed}");
    }
    let mut client = Client::ready(&server).await;
    client.0.write_all(&[b'Q', 0x7f, 0xff, 0xff, 0xff]).await.unwrap();
    let said = client.rest().await;
    assert!(String::from_utf8_lossy(&said).contains("08P01"));
}

#[tokio::test]
async fn those_that_say_nothing_are_few_are_cut_and_keep_nobody_out() {
    let server = server().await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(Client::connect(&server).await);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    let mut one_more = Client::ready(&server).await;
    assert_eq!(one(&one_more.query("SELECT 1").await), "1");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // The oldest had to go, and the others when their time was over.
    assert!(silent.remove(0).rest().await.is_empty());
    assert!(tokio::time::timeout(Duration::from_millis(100), silent[0].0.read(&mut [0; 1])).await.is_err());
    for client in &mut silent {
        client.rest().await;
    }
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(one(&one_more.query("SELECT 2").await), "2");
}

#[tokio::test]
async fn garbage_ends_its_connection_and_nothing_else() {
    let server = server().await;
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let whole = b"\0\0\0\x1d\0\x03\0\0user\0me\0database\0d\0\0".to_vec();
    let query = b"Q\0\0\0\x0dSELECT 1\0P\0\0\0\x12s\0SELECT $1\0\0\0B\0\0\0\x10\0s\0\0\0\0\x01\0\0\0\x01x".to_vec();
    for round in 0..300 {
        let mut bytes = [whole.as_slice(), &query].concat();
        for _ in 0..1 + random.next_u32() % 6 {
            let at = random.next_u32() as usize % bytes.len();
            bytes[at] = random.next_u32().to_le_bytes()[0];
        }
        if round % 3 == 0 {
            bytes.truncate(random.next_u32() as usize % bytes.len());
        }
        let mut client = Client::connect(&server).await;
        // The server may have closed it already.
        let _ = client.0.write_all(&bytes).await;
        let _ = client.0.shutdown().await;
        client.rest().await;
    }
    let mut client = Client::ready(&server).await;
    assert_eq!(one(&client.query("SELECT 1").await), "1");
}
