//! Connections of clients of PostgreSQL.
//!
//! Duty: accept, log in, serve, stop. Guarantee: a client that does not log in is cut after 10 s, and before where 64 are
//! that far (`waiting_room`): they take nothing from those that have, of which 256 may be; a stop waits for running
//! statements, but not for ever. Left to others: what is said (`login`, `connection`).

use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::State;
use super::back;
use super::connection::Connection;
use super::login::login;
use super::problem::Problem;
use super::waiting_room::{Chair, WaitingRoom};
use super::wire::{Broken, Wire};
use crate::access;

const MAX_CONNECTIONS: usize = 256;
const LOGIN: Duration = Duration::from_secs(10);
/// What is not done by then is dropped (sql.md 7, Cancel).
const DRAIN: Duration = Duration::from_secs(1);
/// A client whose machine has gone is found out so.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Serves on `listeners` until `shutdown`, then lets running statements end for up to 1 s.
pub async fn serve(listeners: Vec<TcpListener>, state: State, shutdown: CancellationToken) {
    let state = Arc::new(state);
    let loopback = access::is_on_loopback(&listeners);
    let slots = Slots { all: Arc::new(Semaphore::new(MAX_CONNECTIONS)), logins: WaitingRoom::default() };
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept((listener, loopback), state.clone(), slots.clone(), shutdown.clone()));
    }
    while let Some(ended) = accepting.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a listener for clients of PostgreSQL ended");
        }
    }
}

#[derive(Clone)]
struct Slots {
    all: Arc<Semaphore>,
    logins: WaitingRoom,
}

async fn accept(
    (listener, loopback): (TcpListener, bool),
    state: Arc<State>,
    slots: Slots,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file handles, or the client left: the listener goes on.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let login = slots.logins.enter(peer.ip());
        connections.spawn(connection((stream, loopback), state.clone(), login, slots.all.clone(), shutdown.clone()));
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(
    (stream, loopback): (TcpStream, bool),
    state: Arc<State>,
    logging_in: Chair,
    slots: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
    let mut wire = Wire::new(stream);
    let session = tokio::select! {
        () = shutdown.cancelled() => return,
        // Others need its place; it costs nothing to try again.
        () = logging_in.taken() => return,
        session = tokio::time::timeout(LOGIN, login(&mut wire, &state, loopback)) => session,
    };
    let session = match session {
        Ok(Ok(Some(session))) => session,
        Ok(Ok(None)) | Err(_) => return wire.close().await,
        Ok(Err(broken)) => return ended(wire, broken).await,
    };
    drop(logging_in);
    let Ok(_slot) = slots.try_acquire_owned() else {
        let problem = Problem::fatal("53300", "too many connections are open").hint("close one, or use a pool");
        return ended(wire, Broken::Protocol(problem)).await;
    };
    let mut connection = Connection::new(wire, state, session);
    let outcome = connection.run(&shutdown).await;
    let wire = connection.into_wire();
    match outcome {
        Ok(()) => wire.close().await,
        Err(broken) => ended(wire, broken).await,
    }
}

async fn ended(mut wire: Wire, broken: Broken) {
    match broken {
        Broken::Gone(error) => tracing::debug!(%error, "a client of PostgreSQL has gone"),
        Broken::Protocol(problem) => {
            tracing::debug!(state = problem.state, message = problem.message, "a client of PostgreSQL is cut");
            back::error(&mut wire.out, &problem);
            wire.close().await;
        }
    }
}
