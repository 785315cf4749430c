//! Log lines on stderr.
//!
//! Duty: install the subscriber that writes events as text or JSON, and hands spans to [`super::own_spans`]. Guarantee:
//! stdout stays free for data. Left to others: what is logged.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::config::{Config, Level};
use super::own_spans::OwnSpans;

/// Installs logging for the process; a second call changes nothing.
///
/// `own_spans` gets the spans whose target is [`super::own_spans::TARGET`].
pub fn install(config: &Config, own_spans: Option<OwnSpans>) {
    let level = match config.level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    // Libraries are quiet below warn: their debug lines say nothing about spans.
    let ours = filter_fn(move |meta| {
        meta.is_event()
            && (*meta.level() <= tracing::Level::WARN || meta.target().starts_with("weavergen"))
            && *meta.level() <= level
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if config.json {
        lines.json().flatten_event(true).with_filter(ours).boxed()
    } else {
        let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
        lines.with_ansi(color).with_filter(ours).boxed()
    };
    let spans = own_spans
        .map(|layer| layer.with_filter(filter_fn(|meta| meta.is_span() && meta.target() == super::own_spans::TARGET)));
    // Only a second call in the same process fails, and then logging is there already.
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
}
