//! Claims about settings and transactions, as pools and drivers rely on them.

use super::*;

/// The timeout, in the words of a client.
async fn timeout(client: &mut Client) -> String {
    one(&client.query("SHOW statement_timeout").await)
}

#[tokio::test]
async fn a_setting_of_a_transaction_ends_with_it() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    let outside = client.query("SET LOCAL statement_timeout = 5000").await;
    assert_eq!((kinds(&outside).as_str(), state_of(&outside).as_str()), ("NCZ", "25P01"));
    assert_eq!(timeout(&mut client).await, "0");

    client.query("BEGIN").await;
    client.query("SET LOCAL statement_timeout = 5000").await;
    client.query("SET application_name = 'kept'").await;
    assert_eq!(timeout(&mut client).await, "5000ms");
    client.query("COMMIT").await;
    assert_eq!(timeout(&mut client).await, "0");
    assert_eq!(one(&client.query("SHOW application_name").await), "kept");

    client.query("BEGIN").await;
    client.query("SET statement_timeout = 7000").await;
    client.query("SET application_name = 'lost'").await;
    let said = client.query("ROLLBACK").await;
    // The client hears of what it was told before.
    assert_eq!(kinds(&said), "SCZ", "{said:?}");
    assert_eq!(said[0].1, b"application_name\0kept\0");
    assert_eq!(timeout(&mut client).await, "0");
}

#[tokio::test]
async fn a_transaction_that_chains_is_followed_by_another() {
    let server = server().await;
    let mut client = Client::ready(&server).await;
    client.query("BEGIN").await;
    client.query("SET LOCAL statement_timeout = 5000").await;
    assert_eq!(client.query("COMMIT AND CHAIN").await.last().unwrap().1, b"T");
    assert_eq!(timeout(&mut client).await, "0");
    assert_eq!(client.query("ROLLBACK AND CHAIN").await.last().unwrap().1, b"T");
    assert_eq!(client.query("COMMIT").await.last().unwrap().1, b"I");
    assert_eq!(client.query("COMMIT AND CHAIN").await.last().unwrap().1, b"I");
}
