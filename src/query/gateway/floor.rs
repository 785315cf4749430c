//! What plans are made over that are no statement of anybody and run in parts.
//!
//! Duty: a session without rows in the types in force. Guarantee: nothing is bounded here, so who works sees to its own time
//! and memory. Left to others: what is planned (`shared`), the threads.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;

use super::Gateway;
use crate::query::config::Config;
use crate::query::prepared::bare;
use crate::query::session;

/// What plans are made over and run with; cheap to clone.
#[derive(Clone)]
pub(in crate::query) struct Floor {
    pub context: SessionContext,
    pub state: Arc<SessionState>,
    pub config: Config,
    pub engine: Arc<RuntimeEnv>,
}

impl fmt::Debug for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Floor")
    }
}

impl Gateway {
    /// A session without rows, in the types in force.
    ///
    /// Errors: none that a caller can cause.
    pub(in crate::query) fn floor(&self) -> Result<Floor> {
        let inner = &self.inner;
        let config = Config { attribute_types: inner.attribute_types.load_full(), ..inner.config.clone() };
        let open = || session::open(&bare(&inner.reader.view()), &config, inner.clock.now_ns(), &inner.engine);
        let context = inner.bare.get(&config, open)?;
        let state = Arc::new(context.state());
        Ok(Floor { context, state, config, engine: inner.engine.clone() })
    }
}
