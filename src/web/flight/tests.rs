//! Flight SQL over real connections, by the library's own client.

mod fuzz;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int64Type};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    Any, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, CommandStatementQuery,
    ProstMessageExt as _, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Empty, FlightDescriptor, FlightInfo, Ticket,
};
use futures::TryStreamExt as _;
use prost::Message as _;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::access;
use crate::query::Config;
use crate::web::tests::{Server, plain, server};

type Client = FlightSqlServiceClient<Channel>;

async fn channel(server: &Server) -> Channel {
    Endpoint::new(format!("http://{}", server.address)).unwrap().connect().await.unwrap()
}

async fn client(server: &Server) -> Client {
    Client::new(channel(server).await)
}

fn ticket(info: &FlightInfo) -> Ticket {
    assert_eq!(info.endpoint.len(), 1);
    info.endpoint[0].ticket.clone().unwrap()
}

async fn fetched(client: &mut Client, info: FlightInfo) -> Result<RecordBatch, FlightError> {
    let expected = Arc::new(info.clone().try_decode_schema().unwrap());
    let mut stream = client.do_get(ticket(&info)).await?;
    let batches: Vec<RecordBatch> = (&mut stream).try_collect().await?;
    assert_eq!(stream.schema().unwrap(), &expected, "the columns that GetFlightInfo told");
    Ok(concat_batches(&expected, &batches).unwrap())
}

async fn asked(client: &mut Client, sql: &str) -> Result<RecordBatch, FlightError> {
    let info = client.execute(sql.to_owned(), None).await?;
    fetched(client, info).await
}

fn status(error: FlightError) -> tonic::Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("no status: {other}"),
    }
}

fn texts(batch: &RecordBatch, column: usize) -> Vec<String> {
    batch.column(column).as_string::<i32>().iter().map(|text| text.unwrap_or("∅").to_owned()).collect()
}

#[tokio::test]
async fn a_statement_gives_the_table_that_http_gives_in_arrow() {
    let server = plain().await;
    let mut client = client(&server).await;
    for sql in [
        "SELECT * FROM spans ORDER BY span_id",
        "SELECT name, count(*) AS n, avg(duration_ns) FROM spans GROUP BY 1",
        "SELECT attributes, attributes['http.route'] FROM spans",
        "SELECT * FROM spans WHERE false",
        "SHOW TABLES",
        "EXPLAIN SELECT name FROM spans",
        "VALUES (1, 'x'), (2, NULL)",
    ] {
        let of_flight = asked(&mut client, sql).await.unwrap();
        let stream = server.post("/api/v1/sql?format=arrow").body(sql).send().await.unwrap().bytes().await.unwrap();
        let stream = arrow::ipc::reader::StreamReader::try_new(stream.as_ref(), None).unwrap();
        let schema = stream.schema();
        let batches: Vec<_> = stream.map(Result::unwrap).collect();
        let of_http = concat_batches(&schema, &batches).unwrap();
        assert_eq!(of_flight.schema().fields(), schema.fields(), "{sql}");
        if !sql.starts_with("EXPLAIN") {
            assert_eq!(of_flight.columns(), of_http.columns(), "{sql}");
        }
    }
}

#[tokio::test]
async fn an_error_has_its_code_place_and_hint() {
    let server = plain().await;
    let mut client = client(&server).await;
    for (sql, code, text) in [
        ("SELECT nme FROM spans", Code::NotFound, "(line 1, column 8); hint: did you mean `name`?"),
        ("SELEC 1", Code::InvalidArgument, "sql.syntax: unexpected `SELEC`"),
        ("DROP TABLE spans", Code::PermissionDenied, "sql.not_allowed: `DROP"),
        ("SELECT 1; SELECT 2", Code::PermissionDenied, "sql.not_allowed: more than one statement"),
        ("SELECT 1 / 0", Code::InvalidArgument, "sql.argument: "),
    ] {
        let status = status(asked(&mut client, sql).await.unwrap_err());
        assert_eq!(status.code(), code, "{sql}: {status:?}");
        assert!(status.message().contains(text), "{sql}: {}", status.message());
        let json = status.metadata().get("x-weavergen-error").unwrap().to_str().unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert!(status.message().starts_with(json["code"].as_str().unwrap()));
        assert!(json["query_id"].is_string(), "{json}");
    }
}

#[tokio::test]
async fn a_ticket_is_good_once_and_wrong_ones_are_the_callers_error() {
    let server = plain().await;
    let mut client = client(&server).await;
    let info = client.execute("SELECT 1 AS one".to_owned(), None).await.unwrap();
    assert!(info.endpoint[0].expiration_time.is_none(), "it would promise that a ticket can be used again");
    let rows: Vec<RecordBatch> = client.do_get(ticket(&info)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows[0].num_rows(), 1);
    let again = status(client.do_get(ticket(&info)).await.unwrap_err());
    assert_eq!(again.code(), Code::InvalidArgument);
    assert!(again.message().contains("the ticket was used before"), "{}", again.message());
    let unsealed = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None };
    let sealed_by_none = TicketStatementQuery { statement_handle: vec![7; 80].into() };
    let foreign = Any { type_url: "type.googleapis.com/some.Message".to_owned(), value: vec![1, 2, 3].into() };
    let listing = arrow_flight::sql::CommandGetCatalogs {};
    for wrong in [
        Vec::new(),
        vec![0xff; 100],
        unsealed.as_any().encode_to_vec(),
        sealed_by_none.as_any().encode_to_vec(),
        listing.as_any().encode_to_vec(),
        foreign.encode_to_vec(),
    ] {
        let refused = status(client.do_get(Ticket::new(wrong.clone())).await.unwrap_err());
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong:?}: {refused:?}");
    }
    // Changed bytes of a true ticket: never rows, never a broken connection.
    let chance = crate::clock::Clock::manual(0, 11);
    let sound = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    for _ in 0..200 {
        let mut bytes = ticket(&sound).ticket.to_vec();
        let at = usize::try_from(chance.random() % bytes.len() as u64).unwrap();
        match chance.random() % 3 {
            0 => bytes[at] ^= 1 << (chance.random() % 8),
            1 => bytes.insert(at, chance.random() as u8),
            _ => drop(bytes.remove(at)),
        }
        let refused = status(client.do_get(Ticket::new(bytes)).await.unwrap_err());
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    assert_eq!(fetched(&mut client, sound).await.unwrap().num_rows(), 1, "and the true one still is good");
}

#[tokio::test]
async fn a_prepared_statement_knows_its_types_and_takes_values_again_and_again() {
    let server = plain().await;
    let mut client = client(&server).await;
    let sql = "SELECT name, span_id FROM spans WHERE duration_ns > $1 AND name = $2 AND start_time < $3";
    let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap();
    let types: Vec<DataType> =
        prepared.parameter_schema().unwrap().fields().iter().map(|field| field.data_type().clone()).collect();
    assert!(matches!(types[..], [DataType::Int64, DataType::Utf8, DataType::Timestamp(_, _)]), "{types:?}");
    assert_eq!(prepared.dataset_schema().unwrap().fields().len(), 2);
    let values = |duration: i64, name: &str| {
        RecordBatch::try_from_iter([
            ("0", Arc::new(Int64Array::from(vec![duration])) as ArrayRef),
            ("1", Arc::new(StringArray::from(vec![name]))),
            ("2", Arc::new(TimestampMicrosecondArray::from(vec![1_800_000_000_000_000]))),
        ])
        .unwrap()
    };
    let unbound = status(prepared.execute().await.unwrap_err());
    assert!(unbound.message().contains("nothing is bound"), "{}", unbound.message());
    for (duration, name, count) in [(1, "op", 3), (1, "it's; DROP TABLE spans --", 0), (1 << 40, "op", 0)] {
        prepared.set_parameters(values(duration, name)).unwrap();
        let info = prepared.execute().await.unwrap();
        assert_eq!(fetched(&mut client, info).await.unwrap().num_rows(), count, "{name}");
    }
    let two = concat_batches(&values(1, "x").schema(), &[values(1, "x"), values(2, "y")]).unwrap();
    prepared.set_parameters(two).unwrap();
    let refused = status(prepared.execute().await.unwrap_err());
    assert!(refused.message().contains("2 rows of values were sent; a query takes one"), "{}", refused.message());
    prepared.close().await.unwrap();
    let wrong = status(client.prepare("SELECT nme FROM spans WHERE name = $1".to_owned(), None).await.unwrap_err());
    assert_eq!(wrong.code(), Code::NotFound);
    let mut named = client.prepare("SELECT $who AS who, $n + 1 AS n".to_owned(), None).await.unwrap();
    let values = RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from(vec![41])) as ArrayRef),
        ("who", Arc::new(StringArray::from(vec!["me"]))),
    ]);
    named.set_parameters(values.unwrap()).unwrap();
    let info = named.execute().await.unwrap();
    let rows = fetched(&mut client, info).await.unwrap();
    assert_eq!((texts(&rows, 0), rows.column(1).as_primitive::<Int64Type>().value(0)), (vec!["me".to_owned()], 42));
}

#[tokio::test]
async fn listings_name_what_a_statement_can_name() {
    let server = plain().await;
    let mut client = client(&server).await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(texts(&fetched(&mut client, info).await.unwrap(), 0), ["weavergen"]);
    let info = client.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
    assert_eq!(texts(&fetched(&mut client, info).await.unwrap(), 1), ["information_schema", "public", "system"]);
    let tables = CommandGetTables { table_name_filter_pattern: Some("span%".to_owned()), ..Default::default() };
    let info = client.get_tables(CommandGetTables { include_schema: true, ..tables.clone() }).await.unwrap();
    let rows = fetched(&mut client, info).await.unwrap();
    assert_eq!(texts(&rows, 2), ["span_events", "span_links", "spans"]);
    let schemas = rows.column(4).as_binary::<i32>();
    for (row, name) in texts(&rows, 2).iter().enumerate() {
        let listed = arrow_flight::IpcMessage(schemas.value(row).to_vec().into());
        let listed: arrow::datatypes::Schema = listed.try_into().unwrap();
        let selected = client.execute(format!("SELECT * FROM {name}"), None).await.unwrap();
        assert_eq!(listed.fields(), selected.try_decode_schema().unwrap().fields(), "{name}");
    }
    let info = client.get_tables(tables).await.unwrap();
    assert_eq!(fetched(&mut client, info).await.unwrap().num_columns(), 4);
    let views = CommandGetTables { table_types: vec!["VIEW".to_owned()], ..Default::default() };
    let info = client.get_tables(views).await.unwrap();
    assert!(!texts(&fetched(&mut client, info).await.unwrap(), 2).contains(&"spans".to_owned()));
    let info = client.get_table_types().await.unwrap();
    assert_eq!(texts(&fetched(&mut client, info).await.unwrap(), 0), ["BASE TABLE", "VIEW"]);
    let info = client.get_primary_keys(CommandGetPrimaryKeys { table: "spans".to_owned(), ..Default::default() });
    let info = info.await.unwrap();
    assert_eq!(fetched(&mut client, info).await.unwrap().num_rows(), 0);
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    assert_eq!(fetched(&mut client, info).await.unwrap().num_rows(), 6);
    let wanted = vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly];
    let info = client.get_sql_info(wanted).await.unwrap();
    assert_eq!(fetched(&mut client, info).await.unwrap().num_rows(), 2);
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let server = plain().await;
    let mut client = client(&server).await;
    let update = status(client.execute_update("DELETE FROM spans".to_owned(), None).await.unwrap_err());
    assert_eq!(update.code(), Code::Unimplemented);
    assert!(update.message().contains("an update: SQL here only reads is not supported"), "{}", update.message());
    let begin = status(client.begin_transaction().await.unwrap_err());
    assert_eq!(begin.code(), Code::Unimplemented, "{begin:?}");
    let within = client.execute("SELECT 1".to_owned(), Some(vec![1].into())).await.unwrap_err();
    assert_eq!(status(within).code(), Code::Unimplemented);
    let mut plain = FlightServiceClient::new(channel(&server).await);
    let action = plain.do_action(Action::new("CloseSession", vec![])).await.unwrap_err();
    assert_eq!(action.code(), Code::Unimplemented, "{action:?}");
    let actions: Vec<_> = plain.list_actions(Empty {}).await.unwrap().into_inner().try_collect().await.unwrap();
    assert_eq!(actions.len(), 4);
    let query = CommandStatementQuery { query: "SELECT 1 AS one".to_owned(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let schema = plain.get_schema(descriptor).await.unwrap().into_inner();
    let schema: arrow::datatypes::Schema = schema.try_into().unwrap();
    assert_eq!(schema.field(0).name(), "one");
    let garbage = plain.get_flight_info(FlightDescriptor::new_cmd(vec![0xff; 9])).await.unwrap_err();
    assert_eq!(garbage.code(), Code::InvalidArgument, "{garbage:?}");
}

#[tokio::test]
async fn a_token_is_asked_for_and_a_password_may_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    let (one, two) = ("1".repeat(16), "2".repeat(16));
    std::fs::write(&path, format!("{one} viewer\n{two} viewer\n")).unwrap();
    let config = access::Config { anonymous: Some(None), tokens_file: Some(path) };
    let server = server(config, Config { threads: 2, ..Config::default() }).await;
    let mut nobody = client(&server).await;
    let refused = status(nobody.execute("SELECT 1".to_owned(), None).await.unwrap_err());
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("a token is needed"), "{}", refused.message());
    nobody.set_token("guess".to_owned());
    assert_eq!(status(nobody.execute("SELECT 1".to_owned(), None).await.unwrap_err()).code(), Code::Unauthenticated);
    nobody.clear_token();
    assert!(nobody.handshake("me", "guess").await.is_err());
    nobody.handshake("me", &one).await.unwrap();
    assert_eq!(nobody.token(), Some(&one));
    assert_eq!(asked(&mut nobody, "SELECT 1").await.unwrap().num_rows(), 1);
    let info = nobody.execute("SELECT 1".to_owned(), None).await.unwrap();
    let mut other = client(&server).await;
    other.set_token(two);
    let stolen = status(other.do_get(ticket(&info)).await.unwrap_err());
    assert_eq!(stolen.code(), Code::PermissionDenied, "{stolen:?}");
    assert_eq!(fetched(&mut nobody, info).await.unwrap().num_rows(), 1, "a thief's try uses nothing up");
}

/// Statements that run, but this one.
async fn running(server: &Server) -> i64 {
    let sql = "SELECT count(*) FROM system.queries WHERE state IN ('running', 'waiting')";
    let mut answer = server.gateway.run(crate::query::Statement::new(sql)).await.unwrap();
    let batches = answer.collect().await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0) - 1
}

async fn none_runs(server: &Server, within: Duration) {
    let began = Instant::now();
    while running(server).await > 0 {
        assert!(began.elapsed() < within, "a statement still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const MANY: &str = "SELECT value, repeat(CAST(value AS TEXT), 200) AS x FROM generate_series(1, 1000000)";
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b \
                       WHERE a.value + b.value <> 7";

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_frees_its_slot() {
    let server = plain().await;
    let mut client = client(&server).await;
    for _ in 0..6 {
        let info = client.execute(MANY.to_owned(), None).await.unwrap();
        let mut stream = client.do_get(ticket(&info)).await.unwrap();
        assert!(stream.try_next().await.unwrap().is_some());
        assert!(running(&server).await > 0);
        drop(stream);
        none_runs(&server, Duration::from_secs(1)).await;
    }
    // A whole connection that goes, while nothing was answered yet.
    let mut leaving = self::client(&server).await;
    let info = leaving.execute(ENDLESS.to_owned(), None).await.unwrap();
    let waiting = tokio::spawn(async move { leaving.do_get(ticket(&info)).await.map(drop) });
    while running(&server).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    waiting.abort();
    none_runs(&server, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_slot_at_the_deadline() {
    let config = Config { threads: 2, timeout: Duration::from_secs(3), ..Config::default() };
    let server = server(access::Config::default(), config).await;
    let mut client = client(&server).await;
    let info = client.execute(MANY.to_owned(), None).await.unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(3_600)).await;
    let busy = server.gateway.slots_taken();
    assert_eq!(busy, 0, "the statement's threads are free though its stream is open");
    let ended = stream.try_collect::<Vec<_>>().await.map_err(status).unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
}

#[tokio::test]
async fn a_statement_is_cancelled_by_its_info_before_and_while_it_runs() {
    let server = plain().await;
    let mut client = client(&server).await;
    let mut plain = FlightServiceClient::new(channel(&server).await);
    let mut cancel = async |info: FlightInfo| {
        let body = CancelFlightInfoRequest::new(info).encode_to_vec();
        let mut results = plain.do_action(Action::new("CancelFlightInfo", body)).await.unwrap().into_inner();
        let result = results.try_next().await.unwrap().unwrap();
        CancelFlightInfoResult::decode(result.body).unwrap().status()
    };
    let info = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    assert_eq!(cancel(info.clone()).await, CancelStatus::Cancelled);
    let refused = status(client.do_get(ticket(&info)).await.unwrap_err());
    assert!(refused.message().contains("the ticket was used before"), "{}", refused.message());
    let info = client.execute(ENDLESS.to_owned(), None).await.unwrap();
    assert_eq!(info.app_metadata.len(), 26, "the id of the statement, also for DELETE /api/v1/sql/{{id}}");
    let mut of_runner = self::client(&server).await;
    let of_ticket = ticket(&info);
    let runner = tokio::spawn(async move { of_runner.do_get(of_ticket).await.map(drop) });
    while running(&server).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();
    assert_eq!(cancel(info.clone()).await, CancelStatus::Cancelled);
    let ended = status(runner.await.unwrap().unwrap_err());
    assert_eq!(ended.code(), Code::Cancelled, "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(cancel(info).await, CancelStatus::NotCancellable);
    none_runs(&server, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn hostile_statements_are_refused_here_too() {
    let server = plain().await;
    let mut client = client(&server).await;
    let mut passed = Vec::new();
    for sql in crate::query::tests::hostile() {
        match asked(&mut client, &sql).await {
            Ok(rows) => passed.push(format!("{sql} => {} rows", rows.num_rows())),
            Err(error) => {
                let status = status(error);
                assert!(!matches!(status.code(), Code::Internal | Code::Unknown), "{sql}: {status:?}");
            }
        }
    }
    assert!(passed.is_empty(), "{}", passed.join("\n"));
    assert!(!std::path::Path::new("/tmp/weavergen-escape").exists());
    assert_eq!(asked(&mut client, "SELECT count(*) FROM spans").await.unwrap().num_rows(), 1);
}
