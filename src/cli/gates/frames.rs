//! Requests in a file of OTLP protobuf.
//!
//! Duty: one `ExportTraceServiceRequest`; many, each behind its length as a varint (what protobuf libraries write delimited)
//! or as four bytes in network order (the Collector's file exporter). Guarantee: a framing is taken only if it fits the file
//! to its last byte. Left to others: the messages (`otlp`).

/// Tag of field 1 with a length: `resource_spans`, the only field of a request.
const RESOURCE_SPANS: u8 = 0x0A;

/// Whether a file that begins so may be one.
pub(super) fn may_begin(head: &[u8]) -> bool {
    let behind_length = varint(head).and_then(|(_, at)| head.get(at));
    head.first() == Some(&RESOURCE_SPANS)
        || behind_length == Some(&RESOURCE_SPANS)
        || (head.first() == Some(&0) && head.get(4) == Some(&RESOURCE_SPANS))
        || head == [0]
}

/// The requests, each with its place in the file.
///
/// Errors: a sentence, if no framing fits.
pub(super) fn requests(bytes: &[u8]) -> Result<Vec<(usize, &[u8])>, String> {
    if is_request(bytes) {
        return Ok(vec![(0, bytes)]);
    }
    let by_varint = framed(bytes, varint);
    let by_word = framed(bytes, |rest| {
        let length = rest.first_chunk().map(|word| u32::from_be_bytes(*word))?;
        Some((usize::try_from(length).ok()?, 4))
    });
    match (by_word, by_varint) {
        (Ok(requests), _) | (_, Ok(requests)) => Ok(requests),
        (Err(word), Err(varint)) => {
            let at = word.max(varint);
            Err(format!("the requests end to fit at byte {at} of {}; the file is cut or no OTLP protobuf", bytes.len()))
        }
    }
}

/// Frames to the end; the place at which one does not fit.
fn framed(bytes: &[u8], length: impl Fn(&[u8]) -> Option<(usize, usize)>) -> Result<Vec<(usize, &[u8])>, usize> {
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let (long, head) = length(&bytes[at..]).ok_or(at)?;
        let begin = at + head;
        let request = begin.checked_add(long).and_then(|end| bytes.get(begin..end)).ok_or(at)?;
        if !is_request(request) {
            return Err(at);
        }
        found.push((begin, request));
        at = begin + long;
    }
    Ok(found)
}

/// Whether the bytes are fields 1 with their lengths, and nothing else.
fn is_request(mut bytes: &[u8]) -> bool {
    while let Some((tag, rest)) = bytes.split_first() {
        let Some((long, head)) = varint(rest) else { return false };
        let Some(next) = head.checked_add(long).and_then(|end| rest.get(end..)) else { return false };
        if *tag != RESOURCE_SPANS {
            return false;
        }
        bytes = next;
    }
    true
}

/// A length and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request with one `resource_spans` of so many zero bytes.
    fn request(long: u8) -> Vec<u8> {
        [vec![RESOURCE_SPANS, long], vec![0; long.into()]].concat()
    }

    #[test]
    fn one_request_and_both_framings_are_told_apart() {
        let one = [request(3), request(9)].concat();
        assert_eq!(requests(&one).unwrap(), [(0, one.as_slice())]);
        let (a, b) = (request(120), request(8));
        let varint = [vec![122], a.clone(), vec![10], b.clone(), vec![0]].concat();
        assert!(may_begin(&varint));
        assert_eq!(requests(&varint).unwrap(), [(1, a.as_slice()), (124, b.as_slice()), (135, &[][..])]);
        let words = [vec![0, 0, 0, 122], a.clone(), vec![0, 0, 0, 10], b.clone()].concat();
        assert!(may_begin(&words));
        assert_eq!(requests(&words).unwrap(), [(4, a.as_slice()), (130, b.as_slice())]);
    }

    #[test]
    fn a_file_that_is_cut_is_refused_with_the_place() {
        let mut cut = [vec![122], request(120), vec![122], request(120)].concat();
        cut.pop();
        let why = requests(&cut).unwrap_err();
        assert!(why.contains("at byte 123 of 245"), "{why}");
    }
}
