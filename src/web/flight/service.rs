//! What Flight SQL asks for.
//!
//! Duty: commands into tickets, tickets into rows; prepared statements, cancelling. Guarantee: each statement is planned
//! by the gateway before a ticket is made, and run by it when the ticket comes; updates, ingestion, Substrait and
//! transactions are refused as such. Left to others: the calls around it (`server`), listings (`listing`).

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
    ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    ActionCreatePreparedSubstraitPlanRequest, ActionEndSavepointRequest, ActionEndTransactionRequest, Any, Command,
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery,
    CommandStatementSubstraitPlan, CommandStatementUpdate, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor, FlightEndpoint,
    FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
};
use futures::Stream;
use prost::Message as _;
use prost::bytes::Bytes;
use tonic::{Request, Response, Status, Streaming};

use super::listing::{self, Listing};
use super::prepared::{Prepared, Shelf};
use super::ticket::{Tickets, What};
use super::{bearer, rows, values};
use crate::access::{Identity, Role};
use crate::clock::Clock;
use crate::query::gateway::{Shape, columns_of};
use crate::query::render::arrow::plain_schema;
use crate::query::{Code, Error, Gateway, Params, Statement};
use crate::web;
use crate::web::status::grpc;

/// The service behind the calls.
#[derive(Clone, Debug)]
pub struct Sql(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gateway: Gateway,
    tickets: Tickets,
    shelf: Shelf,
}

type Answered<T> = Result<Response<T>, Status>;
type DoGet<T> = Answered<<T as FlightService>::DoGetStream>;

impl Sql {
    pub(super) fn new(gateway: Gateway, clock: &Clock) -> Self {
        Self(Arc::new(Inner { gateway, tickets: Tickets::new(clock.clone()), shelf: Shelf::new(clock.clone()) }))
    }

    /// The columns of what `descriptor` asks for.
    pub(super) async fn schema(&self, descriptor: &FlightDescriptor, identity: &Identity) -> Result<Bytes, Status> {
        let any = Any::decode(&*descriptor.cmd).map_err(|_| unknown("the descriptor"))?;
        let schema = match Command::try_from(any).map_err(|_| unknown("the descriptor"))? {
            Command::CommandStatementQuery(query) => self.columns(query.query, Params::None, identity).await?,
            Command::CommandPreparedStatementQuery(query) => {
                let prepared = self.0.shelf.get(&query.prepared_statement_handle, &identity.name).map_err(refused)?;
                self.columns(prepared.sql, prepared.params, identity).await?
            }
            command => listing::schema(&command).ok_or_else(|| not_here(command.type_url()))?,
        };
        ipc(&schema)
    }

    async fn columns(&self, sql: String, params: Params, identity: &Identity) -> Result<Schema, Status> {
        let described = self.0.gateway.describe(statement(sql, params, identity)).await.map_err(refused)?;
        let unknown = || Error::new(Code::Argument, "the columns hang on parameters").hint("bind them first");
        let schema = described.schema.ok_or_else(|| refused(unknown()))?;
        Ok(plain_schema(&schema, false))
    }

    /// The way to the rows of a statement.
    async fn info(
        &self,
        sql: String,
        params: Params,
        identity: &Identity,
        descriptor: FlightDescriptor,
    ) -> Answered<FlightInfo> {
        let schema = self.columns(sql.clone(), params.clone(), identity).await?;
        self.endpoint(What::Statement { sql, params }, &schema, identity, descriptor)
    }

    /// The way to a listing.
    fn listing<C: ProstMessageExt>(&self, command: &C, request: Request<FlightDescriptor>) -> Answered<FlightInfo> {
        let identity = identity(&request)?;
        let any = command.as_any();
        let bytes = any.encode_to_vec();
        let listed = Command::try_from(any).ok().and_then(|command| listing::schema(&command));
        let schema = listed.ok_or_else(|| not_here("this listing"))?;
        self.endpoint(What::Listing(bytes), &schema, &identity, request.into_inner())
    }

    fn endpoint(
        &self,
        what: What,
        schema: &Schema,
        identity: &Identity,
        descriptor: FlightDescriptor,
    ) -> Answered<FlightInfo> {
        let (id, ticket) = self.0.tickets.make(&identity.name, what);
        let ticket = TicketStatementQuery { statement_handle: ticket.into() }.as_any().encode_to_vec();
        // No expiration time: it would promise that the ticket can be used again until then.
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
        let info = FlightInfo { schema: ipc(schema)?, ..FlightInfo::new() };
        let info = info.with_descriptor(descriptor).with_endpoint(endpoint).with_ordered(true).with_app_metadata(id);
        Ok(Response::new(info))
    }

    /// Stops what `info` began, or keeps it from beginning.
    pub(super) fn cancel(&self, info: &FlightInfo, identity: &Identity) -> Result<CancelStatus, Status> {
        let mut outcome = CancelStatus::NotCancellable;
        for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
            let any = Any::decode(&*ticket.ticket).map_err(|_| unknown("the ticket"))?;
            let handle: Option<TicketStatementQuery> = any.unpack().map_err(|_| unknown("the ticket"))?;
            let handle = handle.ok_or_else(|| unknown("the ticket"))?.statement_handle;
            let (id, was_used) = self.0.tickets.revoke(&handle, &identity.name).map_err(refused)?;
            let may = |of: &str| of == identity.name || identity.role == Role::Admin;
            if self.0.gateway.cancel(&id, may) == Some(true) || !was_used {
                outcome = CancelStatus::Cancelled;
            }
        }
        Ok(outcome)
    }
}

#[tonic::async_trait]
impl FlightSqlService for Sql {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Answered<std::pin::Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>> {
        let sent = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = sent.map(|sent| bearer(sent).unwrap_or_else(|| sent.to_owned()));
        let mut response = Response::new(Box::pin(futures::stream::iter([Ok(HandshakeResponse::default())])) as _);
        if let Some(token) = token.and_then(|token| token.parse().ok()) {
            response.metadata_mut().insert("authorization", token);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        let identity = identity(&request)?;
        if query.transaction_id.is_some() {
            return Err(not_here("a transaction"));
        }
        self.info(query.query, Params::None, &identity, request.into_inner()).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        let identity = identity(&request)?;
        let prepared = self.0.shelf.get(&query.prepared_statement_handle, &identity.name).map_err(refused)?;
        if prepared.params == Params::None && !prepared.names.is_empty() {
            let message = format!("the statement has {} placeholders, and nothing is bound", prepared.names.len());
            return Err(refused(Error::new(Code::Argument, message).hint("bind one row of values first")));
        }
        self.info(prepared.sql, prepared.params, &identity, request.into_inner()).await
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        Err(not_here("a Substrait plan"))
    }

    async fn get_flight_info_catalogs(
        &self,
        command: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_schemas(
        &self,
        command: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_tables(
        &self,
        command: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_table_types(
        &self,
        command: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_sql_info(
        &self,
        command: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_primary_keys(
        &self,
        command: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_exported_keys(
        &self,
        command: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_imported_keys(
        &self,
        command: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_cross_reference(
        &self,
        command: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        command: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Answered<FlightInfo> {
        self.listing(&command, request)
    }

    async fn get_flight_info_fallback(&self, command: Command, _: Request<FlightDescriptor>) -> Answered<FlightInfo> {
        Err(not_here(command.type_url()))
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> DoGet<Self> {
        let identity = identity(&request)?;
        let (id, what) = self.0.tickets.take(&ticket.statement_handle, &identity.name).map_err(refused)?;
        match what {
            What::Statement { sql, params } => {
                let statement = Statement { query_id: Some(id), ..statement(sql, params, &identity) };
                let answer = self.0.gateway.run(statement).await.map_err(refused)?;
                Ok(Response::new(rows::of_answer(answer)))
            }
            What::Listing(bytes) => {
                let listing = Listing { gateway: &self.0.gateway, identity: &identity.name };
                let batch = listing.rows(&bytes).await.map_err(refused)?;
                Ok(Response::new(rows::of_batch(batch)))
            }
        }
    }

    async fn do_get_fallback(&self, _: Request<Ticket>, _: Any) -> DoGet<Self> {
        Err(unknown("the ticket"))
    }

    async fn do_put_fallback(
        &self,
        _: Request<PeekableFlightDataStream>,
        message: Any,
    ) -> Answered<<Self as FlightService>::DoPutStream> {
        Err(not_here(&message.type_url))
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Answered<<Self as FlightService>::DoPutStream> {
        Err(refused(Error::new(Code::Argument, error.to_string()).hint("send a command as the first message")))
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(not_here("an update: SQL here only reads"))
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(not_here("ingestion: spans come in by OTLP"))
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let identity = identity(&request)?;
        let handle = query.prepared_statement_handle;
        let prepared = self.0.shelf.get(&handle, &identity.name).map_err(refused)?;
        let params = values::read(request.into_inner(), &prepared.names).await.map_err(refused)?;
        self.0.shelf.bind(&handle, &identity.name, params).map_err(refused)?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(not_here("an update: SQL here only reads"))
    }

    async fn do_put_substrait_plan(
        &self,
        _: CommandStatementSubstraitPlan,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(not_here("a Substrait plan"))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let identity = identity(&request)?;
        if query.transaction_id.is_some() {
            return Err(not_here("a transaction"));
        }
        let described = self.0.gateway.describe(statement(query.query.clone(), Params::None, &identity)).await;
        let described = described.map_err(refused)?;
        let names = described.parameters.iter().map(|parameter| parameter.name.clone()).collect();
        let prepared = Prepared { sql: query.query, names, params: Params::None };
        let handle = self.0.shelf.put(&identity.name, prepared);
        let schema = described.schema.map(|schema| ipc(&plain_schema(&schema, false))).transpose()?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.into(),
            dataset_schema: schema.unwrap_or_default(),
            parameter_schema: ipc(&plain_schema(&columns_of(&described.parameters), false))?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        self.0.shelf.close(&query.prepared_statement_handle, &identity(&request)?.name);
        Ok(())
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        _: ActionCreatePreparedSubstraitPlanRequest,
        _: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        Err(not_here("a Substrait plan"))
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        Err(not_here("a transaction: each statement sees one moment"))
    }

    async fn do_action_end_transaction(
        &self,
        _: ActionEndTransactionRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        Err(not_here("a transaction: each statement sees one moment"))
    }

    async fn do_action_begin_savepoint(
        &self,
        _: ActionBeginSavepointRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        Err(not_here("a savepoint: each statement sees one moment"))
    }

    async fn do_action_end_savepoint(&self, _: ActionEndSavepointRequest, _: Request<Action>) -> Result<(), Status> {
        Err(not_here("a savepoint: each statement sees one moment"))
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(query.info).map_err(|_| unknown("the FlightInfo"))?;
        // Both enumerations have the same numbers.
        let result = self.cancel(&info, &identity(&request)?)?.into();
        Ok(ActionCancelQueryResult { result })
    }

    async fn do_action_fallback(&self, request: Request<Action>) -> Answered<<Self as FlightService>::DoActionStream> {
        if request.get_ref().r#type != CANCEL {
            return Err(not_here(&format!("the action `{}`", request.get_ref().r#type)));
        }
        let identity = identity(&request)?;
        let asked =
            CancelFlightInfoRequest::decode(request.into_inner().body).map_err(|_| unknown("the FlightInfo"))?;
        let info = asked.info.ok_or_else(|| unknown("the FlightInfo"))?;
        let body = CancelFlightInfoResult::new(self.cancel(&info, &identity)?).encode_to_vec();
        let result = arrow_flight::Result::new(body);
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(result)]))))
    }

    /// What is told of the server is fixed (`listing`).
    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

/// The action of Flight by which a query is stopped.
pub(super) const CANCEL: &str = "CancelFlightInfo";

fn statement(sql: String, params: Params, identity: &Identity) -> Statement {
    let (shape, identity) = (Shape::Arrow, identity.name.clone());
    Statement { params, shape, identity, surface: "flight", ..Statement::new(sql) }
}

/// Who asks; `door` has put it there.
pub(super) fn identity<T>(request: &Request<T>) -> Result<Identity, Status> {
    let identity = request.extensions().get::<Identity>().cloned();
    let unknown = || crate::access::Error::Unauthenticated { why: "nothing is known of the caller" };
    identity.ok_or_else(|| grpc(&unknown().into()))
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options).try_into().map_err(|error| {
        tracing::error!(%error, "columns cannot be written");
        refused(Error::new(Code::Internal, "the columns cannot be written"))
    })?;
    Ok(bytes)
}

pub(super) fn refused(error: Error) -> Status {
    grpc(&web::Error::Query(error))
}

/// Bytes that are not what they should be.
pub(super) fn unknown(what: &str) -> Status {
    refused(Error::new(Code::Argument, format!("{what} cannot be read")).hint("send what GetFlightInfo answered"))
}

/// What this server does not do.
pub(super) fn not_here(what: &str) -> Status {
    grpc(&web::Error::NotBuilt { what: what.to_owned() })
}
