//! Bytes to columns, beside prost that decodes into structs and throws them away.

use std::hint::black_box;

use prost::Message;
use weavergen::otlp::{Limits, SpanBuilder, decode, encode};

use super::Bench;
use super::load::{self, ExportTraceServiceRequest};

/// Prints a row a size of request and number of attributes.
pub fn run(bench: &Bench) {
    for spans in [512usize, 8192] {
        for attributes in [5usize, 10, 20] {
            row(bench, spans, attributes);
        }
    }
}

fn row(bench: &Bench, spans: usize, attributes: usize) {
    let name = format!("decode/{spans}x{attributes}");
    if !bench.wants(&name) {
        return;
    }
    let body = load::body(7, spans, attributes);
    let (mut builder, limits) = (SpanBuilder::new(), Limits::default());
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
    let rate = |seconds: f64| spans as f64 / seconds;
    let ours = rate(bench.seconds_per_call(|| decode(&body, &limits, &mut builder).expect("a good request")));
    let prost = rate(bench.seconds_per_call(|| ExportTraceServiceRequest::decode(body.as_slice())));
    let batches = decode(&body, &limits, &mut builder).expect("a good request").batches;
    let back = rate(bench.seconds_per_call(|| {
        let mut out = Vec::with_capacity(body.len());
        batches.iter().for_each(|batch| encode(batch, &mut out));
        black_box(out)
    }));
    let (bytes, memory) = (body.len() / spans, memory(&batches) / spans);
    println!(
        "{name:<18} {ours:>10.0} spans/CPU-s  prost {prost:>9.0}  ratio {:>5.2}  encode {back:>9.0}  \
         {bytes} B/span on the wire, {memory} in columns",
        ours / prost
    );
}

fn memory(batches: &[weavergen::span::SpanBatch]) -> usize {
    batches.iter().map(|batch| batch.as_record_batch().get_array_memory_size()).sum()
}
