//! Streams that are slow or do not end.

use super::*;

/// A document that never ends, on one line; counts what was read of it.
struct Endless(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        into.fill(b'x');
        let read = self.0.fetch_add(into.len(), std::sync::atomic::Ordering::Relaxed);
        // What reads on and on would take all memory.
        if read > 64 << 20 { Ok(0) } else { Ok(into.len()) }
    }
}

#[tokio::test]
async fn a_document_that_is_too_long_is_refused_before_its_line_is_read() {
    let read = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let mut taking = Taking { longest_document: 1 << 20, ..Taking::new(Into::Batches(Vec::new())) };
    let from = Cursor::new(b"{}\n{\"resourceSpans\": \"").chain(Endless(read.clone()));
    let why = taking.read("stdin", Box::new(from)).await.unwrap_err().to_string();
    assert_eq!(why, "stdin:2: a document is longer than 1048576 bytes; cut it into several");
    assert!(read.load(std::sync::atomic::Ordering::Relaxed) < 4 << 20, "{read:?}");
}

#[tokio::test]
async fn a_pipe_that_begins_with_a_blank_is_read_to_its_end() {
    struct Slow(Cursor<Vec<u8>>);
    impl Read for Slow {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(&mut into[..1])
        }
    }
    let span = r#"{"traceId": "0123456789abcdef0123456789abcdef", "spanId": "0123456789abcdef", "name": "a",
                   "startTimeUnixNano": "1767225600000000000", "endTimeUnixNano": "1767225600000000001"}"#;
    let text = format!("\n\n{{\"resourceSpans\": [{{\"scopeSpans\": [{{\"spans\": [{span}]}}]}}]}}");
    let mut taking = Taking::new(Into::Batches(Vec::new()));
    taking.read("stdin", Box::new(Slow(Cursor::new(text.into_bytes())))).await.unwrap();
    let Into::Batches(batches) = taking.into else { panic!("they were asked for") };
    assert_eq!(batches.iter().map(SpanBatch::rows).sum::<usize>(), 1);
}
