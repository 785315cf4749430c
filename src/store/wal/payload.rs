//! What a record holds: the request as it arrived, or the columns.
//!
//! Duty: choose the record kind of a delivery and make its payload; read columns back (storage.md 4.1). Guarantee: a
//! request body is shared, not copied; columns read back equal those written. Left to others: turning a request body
//! into columns again (handed to the replay as [`Decode`]).

use std::io::{Cursor, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, ListArray, RecordBatch, StructArray};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::ipc::{CompressionType, MetadataVersion};
use bytes::Bytes;

use super::record::Kind;
use crate::span::{Coding, Delivery, SpanBatch, schema};
use crate::store::Error;

/// `wal.compress: lz4` leaves smaller bodies alone.
const COMPRESS_ABOVE: usize = 4096;

/// Makes one decoder of request bodies per decoding thread; a decoder keeps its builders.
pub type Decode = Arc<dyn Fn() -> Decoder + Send + Sync>;
/// (body, coding, decompressed length) → span batches, or why not.
pub type Decoder = Box<dyn FnMut(&[u8], Coding, usize) -> Result<Vec<SpanBatch>, String>>;

/// A payload with the header fields that describe it.
#[derive(Clone, Debug)]
pub struct Payload {
    /// What the bytes are.
    pub kind: Kind,
    /// Number of [`Coding`].
    pub codec: u8,
    /// Length once decompressed.
    pub decoded_len: u32,
    /// As they go into the file.
    pub bytes: Bytes,
}

impl Payload {
    /// The payload of a delivery: the body as it arrived if it still is what the batches say, else the columns.
    pub fn of(delivery: &Delivery, compress: bool) -> Result<Self, Error> {
        let payload = match &delivery.body {
            Some(body) if compress && body.coding == Coding::Identity && body.bytes.len() > COMPRESS_ABOVE => Self {
                kind: Kind::OtlpProto,
                codec: Coding::Lz4 as u8,
                decoded_len: body.decoded_len,
                bytes: lz4(&body.bytes)?,
            },
            Some(body) => Self {
                kind: Kind::OtlpProto,
                codec: body.coding as u8,
                decoded_len: body.decoded_len,
                bytes: body.bytes.clone(),
            },
            None => {
                let bytes = to_ipc(&delivery.batches).map_err(|e| Error::Internal { detail: e.to_string() })?;
                let decoded_len = u32::try_from(bytes.len()).map_err(|_| too_large(bytes.len()))?;
                Self { kind: Kind::ArrowIpc, codec: 0, decoded_len, bytes: bytes.into() }
            }
        };
        u32::try_from(payload.bytes.len()).map_err(|_| too_large(payload.bytes.len()))?;
        Ok(payload)
    }

    /// The shutdown mark.
    pub fn mark() -> Self {
        let bytes = Bytes::from_static(br#"{"mark":"shutdown"}"#);
        Self { kind: Kind::Mark, codec: 0, decoded_len: 19, bytes }
    }
}

/// The compression with the number `codec`.
pub fn coding(codec: u8) -> Option<Coding> {
    [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::SnappyFramed, Coding::Lz4]
        .into_iter()
        .find(|c| *c as u8 == codec)
}

/// The body that `wal.compress` packed.
pub fn from_lz4(bytes: &[u8], decoded_len: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::with_capacity(decoded_len.min(64 << 20));
    let mut reader = std::io::Read::take(lz4_flex::frame::FrameDecoder::new(bytes), decoded_len as u64 + 1);
    std::io::Read::read_to_end(&mut reader, &mut body).map_err(|e| format!("lz4: {e}"))?;
    if body.len() == decoded_len { Ok(body) } else { Err("lz4: the length is not the header's".to_owned()) }
}

fn lz4(bytes: &[u8]) -> Result<Bytes, Error> {
    let internal = |e: String| Error::Internal { detail: format!("lz4: {e}") };
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::with_capacity(bytes.len() / 2));
    encoder.write_all(bytes).map_err(|e| internal(e.to_string()))?;
    Ok(encoder.finish().map_err(|e| internal(e.to_string()))?.into())
}

fn too_large(bytes: usize) -> Error {
    Error::TooLarge { bytes: bytes as u64 }
}

/// One IPC stream with LZ4 buffers; dictionaries hold only values that are used.
pub fn to_ipc(batches: &[SpanBatch]) -> Result<Vec<u8>, ArrowError> {
    let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V5)?
        .try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), schema::incoming(), options)?;
    for batch in batches {
        let columns = batch.as_record_batch().columns().iter().map(compact).collect::<Result<_, _>>()?;
        writer.write(&RecordBatch::try_new(schema::incoming().clone(), columns)?)?;
    }
    writer.finish()?;
    writer.into_inner()
}

/// The batches of a stream that [`to_ipc`] wrote.
pub fn from_ipc(bytes: &[u8]) -> Result<Vec<SpanBatch>, String> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|e| e.to_string())?;
    reader
        .map(|batch| {
            let batch = batch.map_err(|e| e.to_string())?;
            let columns = batch.columns().to_vec();
            let batch = RecordBatch::try_new(schema::incoming().clone(), columns).map_err(|e| e.to_string())?;
            SpanBatch::try_new(batch).map_err(|e| e.to_string())
        })
        .collect()
}

/// The same values in as few bytes as they need: builders share dictionaries and text blocks between batches.
pub fn compact(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let used = BooleanArray::new(dictionary.occupancy(), None);
            let places: Vec<i32> = used
                .values()
                .iter()
                .scan(0, |next, used| {
                    let place = *next;
                    *next += i32::from(used);
                    Some(place)
                })
                .collect();
            // A null's key may be any number.
            let place_of = |key: i32| usize::try_from(key).ok().and_then(|key| places.get(key)).copied().unwrap_or(0);
            let keys = dictionary.keys().unary::<_, Int32Type>(place_of);
            let values = compact(&filter(dictionary.values(), &used)?)?;
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?)
        }
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let first = list.value_offsets().first().copied().unwrap_or(0);
            let last = list.value_offsets().last().copied().unwrap_or(0);
            let lengths = list.offsets().lengths();
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
            let (from, len) = (usize::try_from(first).unwrap_or(0), usize::try_from(last - first).unwrap_or(0));
            let values = compact(&list.values().slice(from, len))?;
            Arc::new(ListArray::try_new(field.clone(), offsets, values, list.nulls().cloned())?)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(compact).collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())?)
        }
        _ => array.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Origin;
    use crate::store::samples;

    #[test]
    fn columns_read_back_are_the_columns_written() {
        let batch = samples::batch(1, 50);
        let bytes = to_ipc(&[batch.clone(), batch.clone()]).unwrap();
        assert_eq!(from_ipc(&bytes).unwrap(), [batch.clone(), batch]);
    }

    #[test]
    fn a_slice_carries_only_its_own_values() {
        let whole = samples::batch(1, 2_000);
        let slice = SpanBatch::try_new(whole.as_record_batch().slice(700, 2)).unwrap();
        let (of_small, of_slice) =
            (to_ipc(&[samples::batch(1, 2)]).unwrap(), to_ipc(std::slice::from_ref(&slice)).unwrap());
        assert!(of_slice.len() < of_small.len() + 512, "{} of {}", of_slice.len(), of_small.len());
        assert_eq!(from_ipc(&of_slice).unwrap(), [slice]);
    }

    #[test]
    fn a_large_plain_body_is_packed_when_asked_and_a_small_one_never() {
        let body = |len: usize| crate::span::RequestBody {
            bytes: vec![7; len].into(),
            coding: Coding::Identity,
            decoded_len: u32::try_from(len).unwrap(),
        };
        let delivery = |len| Delivery { batches: vec![], body: Some(body(len)), identity: 0, origin: Origin::Received };
        let packed = Payload::of(&delivery(5_000), true).unwrap();
        assert_eq!((packed.codec, packed.decoded_len), (4, 5_000));
        assert_eq!(from_lz4(&packed.bytes, 5_000).unwrap(), vec![7; 5_000]);
        assert!(from_lz4(&packed.bytes, 4_999).is_err());
        assert_eq!(Payload::of(&delivery(4_096), true).unwrap().codec, 0);
        assert_eq!(Payload::of(&delivery(5_000), false).unwrap().bytes, vec![7; 5_000]);
    }
}
