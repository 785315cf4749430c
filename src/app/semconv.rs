//! The registry of the daemon: opened before the store, looked at while it runs.
//!
//! Duty: keep what SQL knows of attribute types at the registry in force. Guarantee: files are read on threads where
//! blocking is fine. Left to others: the registry (`semconv`).

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::gate::expected::expected_operations;
use crate::query::Gateway;
use crate::semconv::{self, Asked, Live};

/// Loads the configured registry.
pub async fn open(config: &Config, registry: &prometheus::Registry) -> anyhow::Result<Live> {
    let (settings, dir, registry) = (config.semconv.clone(), config.pipelines_dir.clone(), registry.clone());
    Ok(tokio::task::spawn_blocking(move || Live::open(&settings, dir, &registry)).await??)
}

/// `expected_operations`: what the configuration declares.
pub fn expected(config: &Config, live: &Live) -> (String, Arc<dyn TableProvider>) {
    let live = live.clone();
    let is_deprecated = move |operation: &str| {
        let tables = live.tables();
        let of_type = tables.span_type(operation, Asked::All).and_then(|id| tables.spans().get(id as usize));
        of_type.is_some_and(|span_type| span_type.deprecated.is_some())
    };
    ("expected_operations".to_owned(), expected_operations(config.semconv.expected.clone(), is_deprecated))
}

/// Looks at the registry's files until `stop`; all of `gateways` read attributes in the types of the one in force.
pub async fn follow(live: Live, gateways: Vec<Gateway>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(semconv::POLL) => {}
        }
        let polled = live.clone();
        // An error: the process ends.
        let Ok(swapped) = tokio::task::spawn_blocking(move || polled.reload_if_changed()).await else { return };
        if swapped {
            gateways.iter().for_each(|gateway| gateway.set_registry_types(live.attribute_types()));
        }
    }
}
