//! What checking spans against a registry costs, and loading one (semconv.md 10).
//!
//! Duty: the rows `semconv_check` (columns of the check for batches at hand, one core) and `semconv_load` (a folder of
//! definitions until it can check). Guarantee: every span follows a definition, half of them without a required
//! attribute. Left to others: what the check slows ingest by, which `append` and `loadgen` tell; matchers, which are not
//! built yet.

use std::fmt::Write as _;
use std::path::Path;

use weavergen::otlp::{Limits, SpanBuilder, decode};
use weavergen::semconv::{Registry, Source, Tables, check};

use super::{Bench, load};

/// Span types of the registry.
pub const SPAN_TYPES: usize = 64;
const FILES: usize = 250;
const ATTRIBUTES: usize = 740;
const SPANS: usize = 8192;

/// Prints a row each.
pub fn run(bench: &Bench) {
    if !["semconv_check", "semconv_load"].iter().any(|name| bench.wants(name)) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    write(folder.path());
    let loaded = || load_from(folder.path());
    if bench.wants("semconv_check") {
        let tables = Tables::compile(&loaded(), &[]);
        let body = load::typed(7, SPANS, 10, SPAN_TYPES);
        let batches = decode(&body, &Limits::default(), &mut SpanBuilder::new()).expect("a good request").batches;
        let matched: u64 = batches.iter().map(|batch| check(&tables, batch).1.matched).sum();
        assert_eq!(matched, SPANS as u64, "every span follows a definition");
        let seconds =
            bench.seconds_per_call(|| batches.iter().map(|batch| check(&tables, batch).0.len()).sum::<usize>());
        #[allow(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
        let rate = SPANS as f64 / seconds;
        println!("{:<18} {rate:>10.0} spans/CPU-s  {SPAN_TYPES} span types", "semconv_check");
    }
    if bench.wants("semconv_load") {
        let seconds = bench.seconds_per_call(|| Tables::compile(&loaded(), &[]));
        println!("{:<18} {:>10.1} ms  {FILES} files, {ATTRIBUTES} attributes", "semconv_load", seconds * 1e3);
    }
}

/// The registry that the rows of this file check against, compiled.
pub fn tables() -> Tables {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    write(folder.path());
    Tables::compile(&load_from(folder.path()), &[])
}

fn load_from(folder: &Path) -> Registry {
    Registry::load(&Source::Folder(folder.to_owned()), None).expect("the definitions are good").registry
}

/// A registry of the size that semconv.md 10 names; the keys of the load are in it.
fn write(folder: &Path) {
    let put = |name: String, text: String| {
        std::fs::write(folder.join(name), text).expect("a file can be written into a temporary folder");
    };
    put("manifest.yaml".to_owned(), "schema_url: https://example.com/schemas/bench/1.0.0\n".to_owned());
    let (of_spans, of_attributes) = (SPAN_TYPES, FILES - SPAN_TYPES);
    for file in 0..of_attributes {
        let mut text = "file_format: definition/2\nattributes:\n".to_owned();
        for at in (file..ATTRIBUTES).step_by(of_attributes) {
            let key =
                load::KEYS.get(at).map_or_else(|| format!("bench.group{}.key{at}", at % 40), |key| (*key).to_owned());
            let _ = writeln!(text, "  - {{key: {key}, type: string, brief: B., stability: stable, examples: [x]}}");
        }
        put(format!("attributes{file}.yaml"), text);
    }
    for file in 0..of_spans {
        let mut text = format!(
            "file_format: definition/2\nspans:\n  - type: {}\n    kind: server\n    name: {{note: free}}\n    brief: B.\n    \
             stability: stable\n    attributes:\n",
            load::span_type(file)
        );
        for at in 0..10 {
            let level = if at % 2 == 0 { "required" } else { "recommended" };
            // Of every second type one required attribute is never sent.
            let key = if at == 8 && file % 2 == 0 { load::KEYS[15] } else { load::KEYS[at] };
            let _ = writeln!(text, "      - {{ref: {key}, requirement_level: {level}}}");
        }
        put(format!("span{file}.yaml"), text);
    }
}
