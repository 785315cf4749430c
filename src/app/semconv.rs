//! The registry of the daemon: opened before the store, looked at while it runs.
//!
//! Duty: keep what SQL knows of attribute types at the registry in force. Guarantee: files are read on threads where
//! blocking is fine. Left to others: the registry (`semconv`).

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::query::Gateway;
use crate::semconv::{self, Live};

/// Loads the configured registry.
pub async fn open(config: &Config, registry: &prometheus::Registry) -> anyhow::Result<Live> {
    let (settings, dir, registry) = (config.semconv.clone(), config.pipelines_dir.clone(), registry.clone());
    Ok(tokio::task::spawn_blocking(move || Live::open(&settings, dir, &registry)).await??)
}

/// Looks at the registry's files until `stop`.
pub async fn follow(live: Live, gateway: Gateway, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(semconv::POLL) => {}
        }
        let polled = live.clone();
        // An error: the process ends.
        let Ok(swapped) = tokio::task::spawn_blocking(move || polled.reload_if_changed()).await else { return };
        if swapped {
            gateway.set_registry_types(live.attribute_types());
        }
    }
}
