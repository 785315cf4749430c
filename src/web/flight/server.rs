//! The calls of Flight.
//!
//! Duty: what `FlightSqlService` of the library leaves out or says vaguely: schemas without a run, the actions there are,
//! bytes that are no command. Guarantee: wrong bytes are the caller's error, and what is not built says so. Left to others:
//! Flight SQL itself (`service`).

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, PollInfo,
    SchemaResult, Ticket,
};
use axum::http::{HeaderMap, header};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::service::{CANCEL, Sql, identity, not_here, unknown};
use crate::clock::Clock;
use crate::query::Gateway;

/// The calls, as a path of the router.
pub(in crate::web) const PATH: &str = "/arrow.flight.protocol.FlightService/{call}";

/// The service of a listener; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::web) struct Server(Sql);

impl Server {
    /// A service over `gateway`.
    pub(in crate::web) fn new(gateway: Gateway, clock: &Clock) -> FlightServiceServer<Self> {
        FlightServiceServer::new(Self(Sql::new(gateway, clock)))
    }
}

/// Whether a request is gRPC, and wants its errors as such.
pub(in crate::web) fn is_grpc(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    declared.is_some_and(|declared| declared.starts_with(b"application/grpc"))
}

/// The command in `bytes`, if it is one.
fn command(bytes: &[u8], what: &str) -> Result<Command, Status> {
    let any = Any::decode(bytes).map_err(|_| unknown(what))?;
    Command::try_from(any).map_err(|_| unknown(what))
}

/// Actions that are answered.
const ACTIONS: [(&str, &str); 4] = [
    ("CreatePreparedStatement", "Prepares a statement (ActionCreatePreparedStatementRequest)."),
    ("ClosePreparedStatement", "Forgets a prepared statement (ActionClosePreparedStatementRequest)."),
    ("CancelQuery", "Stops a statement (ActionCancelQueryRequest)."),
    (CANCEL, "Stops a statement (CancelFlightInfoRequest)."),
];

#[tonic::async_trait]
impl FlightService for Server {
    type HandshakeStream = <Sql as FlightService>::HandshakeStream;
    type ListFlightsStream = <Sql as FlightService>::ListFlightsStream;
    type DoGetStream = <Sql as FlightService>::DoGetStream;
    type DoPutStream = <Sql as FlightService>::DoPutStream;
    type DoActionStream = <Sql as FlightService>::DoActionStream;
    type ListActionsStream = <Sql as FlightService>::ListActionsStream;
    type DoExchangeStream = <Sql as FlightService>::DoExchangeStream;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.0.handshake(request).await
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(not_here("a list of flights: rows come by statements"))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        command(&request.get_ref().cmd, "the descriptor")?;
        self.0.get_flight_info(request).await
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(not_here("polling: GetFlightInfo answers at once"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let identity = identity(&request)?;
        let schema = self.0.schema(request.get_ref(), &identity).await?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        match command(&request.get_ref().ticket, "the ticket")? {
            Command::TicketStatementQuery(_) => self.0.do_get(request).await,
            // A command in place of a ticket would be an unsealed one.
            _ => Err(unknown("the ticket")),
        }
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        self.0.do_put(request).await
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(not_here("an exchange of rows"))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.0.do_action(request).await
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let action =
            |(name, about): (&str, &str)| Ok(ActionType { r#type: name.to_owned(), description: about.to_owned() });
        Ok(Response::new(Box::pin(futures::stream::iter(ACTIONS.map(action)))))
    }
}
