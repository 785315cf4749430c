//! Tickets that were changed by chance.

use super::*;
use crate::query::tests::mutate::rounds;

#[tokio::test]
async fn mutated_tickets_are_refused_and_leave_the_true_one_as_it_is() {
    let server = plain().await;
    let mut client = client(&server).await;
    let mut refused = 0_u32;
    for mut chance in rounds(30) {
        let info = client.execute("SELECT count(*) AS n FROM spans".to_owned(), None).await.unwrap();
        let other = client.execute("SELECT 1 AS one".to_owned(), None).await.unwrap();
        let tickets = [&info, &other].map(|info| ticket(info).ticket.to_vec());
        for _ in 0..4 {
            let changed = chance.bytes(&tickets);
            if tickets.contains(&changed) {
                continue;
            }
            match client.do_get(Ticket::new(changed)).await {
                // Protobuf takes a field twice, and fields that it does not know: what is sealed is the same then.
                Ok(_) => continue,
                Err(error) => {
                    let status = status(error);
                    let is_told = matches!(status.code(), Code::InvalidArgument | Code::Unimplemented);
                    assert!(is_told, "{status:?}");
                    refused += 1;
                }
            }
        }
        match fetched(&mut client, info).await {
            Ok(rows) => assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), 3),
            Err(error) => assert!(status(error).message().contains("was used before")),
        }
    }
    assert!(refused > 50, "{refused}");
}
