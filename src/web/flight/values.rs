//! Values that clients bind to a prepared statement.
//!
//! Duty: one row of Arrow into parameters, by number or by name. Guarantee: a value keeps what it is: instants to the
//! nanosecond, integers whole; bytes become hex, as ids are written. What cannot be read is an error, whatever the bytes
//! are. Left to others: setting them into the statement (`query::params`).

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::ipc::root_as_message;
use arrow_flight::FlightData;
use arrow_flight::utils::flight_data_to_batches;
use futures::StreamExt as _;

use crate::query::params::Param;
use crate::query::{Code, Error, Params};

/// Bytes that the values of a statement may have, as in a body of HTTP.
const MOST_BYTES: usize = 1 << 20;

/// The values that `stream` sends for the placeholders `names`.
///
/// Errors: `sql.argument` where it does not send exactly one row with a value for each, or more than 1 MiB.
pub(super) async fn read(
    mut stream: impl futures::Stream<Item = Result<FlightData, tonic::Status>> + Unpin,
    names: &[String],
) -> Result<Params, Error> {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    while let Some(message) = stream.next().await {
        let message = message.map_err(|status| argument(format!("the values do not arrive: {}", status.message())))?;
        bytes += message.data_header.len() + message.data_body.len();
        if bytes > MOST_BYTES {
            return Err(argument("the values have more than 1 MiB".to_owned()));
        }
        // Some clients send the descriptor in a message of its own.
        if !message.data_header.is_empty() {
            plain(&message.data_header)?;
            messages.push(message);
        }
    }
    // What reads the format trusts the offsets in it, and panics where they lie.
    let read = tokio::task::spawn_blocking(move || flight_data_to_batches(&messages)).await;
    let batches = match read {
        Ok(Ok(batches)) => batches,
        Ok(Err(error)) => return Err(argument(format!("the values cannot be read: {error}"))),
        Err(_) => return Err(argument("the values cannot be read: they are no Arrow data".to_owned())),
    };
    of_batches(&batches, names)
}

/// Checks that a message says what it is, and does not have to be unpacked: a few bytes can say that they unpack to any
/// size, and as much memory would be asked for.
fn plain(header: &[u8]) -> Result<(), Error> {
    let message = root_as_message(header);
    let message = message.map_err(|_| argument("the values cannot be read: they are no Arrow data".to_owned()))?;
    let of_rows = message.header_as_record_batch();
    let batch = of_rows.or_else(|| message.header_as_dictionary_batch().and_then(|of| of.data()));
    match batch.and_then(|batch| batch.compression()) {
        Some(_) => Err(argument("the values are compressed".to_owned())),
        None => Ok(()),
    }
}

fn of_batches(batches: &[RecordBatch], names: &[String]) -> Result<Params, Error> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let batch = match (rows, batches.iter().find(|batch| batch.num_rows() > 0)) {
        (1, Some(batch)) => batch,
        (0, _) if names.is_empty() => return Ok(Params::None),
        _ => return Err(argument(format!("{rows} rows of values were sent; a query takes one"))),
    };
    if batch.num_columns() != names.len() {
        let (sent, needed) = (batch.num_columns(), names.len());
        return Err(argument(format!("{sent} values were sent; the statement has {needed} placeholders")));
    }
    let by_number = names.iter().enumerate().all(|(at, name)| name.parse() == Ok(at + 1));
    if by_number {
        let values = names.iter().zip(batch.columns()).map(|(name, column)| value(name, column));
        return Ok(Params::List(values.collect::<Result<_, _>>()?));
    }
    let schema = batch.schema();
    let named = |name: &String| schema.fields().iter().position(|field| field.name().trim_start_matches('$') == *name);
    let all_named = names.iter().all(|name| named(name).is_some());
    let values = names.iter().enumerate().map(|(at, name)| {
        let at = if all_named { named(name).unwrap_or(at) } else { at };
        Ok((name.clone(), value(name, batch.column(at))?))
    });
    Ok(Params::Map(values.collect::<Result<_, Error>>()?))
}

/// The first value of `column`.
fn value(name: &str, column: &ArrayRef) -> Result<Param, Error> {
    let column = column.slice(0, 1);
    let of = column.data_type().clone();
    let unfit = || argument(format!("`${name}` is {of}, which is no parameter"));
    let as_type = |to: &DataType| cast(&column, to).ok().filter(|cast| cast.is_valid(0));
    if of == DataType::Null || column.is_null(0) {
        return Ok(Param::Null);
    }
    let ns = |of: i64, unit: i64| {
        let beyond = || argument(format!("`${name}` lies beyond 1677 to 2262"));
        of.checked_mul(unit).map(Param::Instant).ok_or_else(beyond)
    };
    Ok(match &of {
        DataType::Boolean => Param::Bool(column.as_boolean().value(0)),
        of if of.is_integer() => match as_type(&DataType::Int64) {
            Some(whole) => Param::Int(whole.as_primitive::<Int64Type>().value(0)),
            None => double(as_type(&DataType::Float64).ok_or_else(unfit)?),
        },
        of if of.is_floating() || of.is_decimal() => double(as_type(&DataType::Float64).ok_or_else(unfit)?),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _) => {
            let text = as_type(&DataType::Utf8).ok_or_else(unfit)?;
            Param::Text(text.as_string::<i32>().value(0).to_owned())
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = as_type(&DataType::Binary).ok_or_else(unfit)?;
            Param::Text(bytes.as_binary::<i32>().value(0).iter().map(|byte| format!("{byte:02x}")).collect())
        }
        DataType::Timestamp(unit, _) => {
            let ticks = as_type(&DataType::Int64).ok_or_else(unfit)?.as_primitive::<Int64Type>().value(0);
            ns(ticks, per_tick(*unit))?
        }
        DataType::Date32 => {
            let days = as_type(&DataType::Int32).and_then(|days| cast(&days, &DataType::Int64).ok());
            ns(days.ok_or_else(unfit)?.as_primitive::<Int64Type>().value(0), 86_400_000_000_000)?
        }
        DataType::Date64 => {
            let millis = as_type(&DataType::Int64).ok_or_else(unfit)?.as_primitive::<Int64Type>().value(0);
            ns(millis, per_tick(TimeUnit::Millisecond))?
        }
        _ => return Err(unfit()),
    })
}

fn double(column: ArrayRef) -> Param {
    Param::Double(column.as_primitive::<Float64Type>().value(0))
}

const fn per_tick(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn argument(message: String) -> Error {
    Error::new(Code::Argument, message)
        .hint("send one row, a column for each placeholder: text, numbers, booleans, times")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::IpcWriteOptions;
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use arrow_flight::utils::batches_to_flight_data;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, of)| (name, of, true))).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_value_keeps_what_it_is() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("a", Arc::new(Int32Array::from(vec![-7]))),
            ("b", Arc::new(UInt64Array::from(vec![u64::MAX]))),
            ("c", Arc::new(Float32Array::from(vec![1.5]))),
            ("d", Arc::new(LargeStringArray::from(vec!["it's"]))),
            ("e", Arc::new(BooleanArray::from(vec![true]))),
            ("f", Arc::new(NullArray::new(1))),
            ("g", Arc::new(TimestampMicrosecondArray::from(vec![1_000_001]))),
            ("h", Arc::new(Date32Array::from(vec![1]))),
            ("i", Arc::new(FixedSizeBinaryArray::try_from_iter([[1_u8, 0xff]].into_iter()).unwrap())),
            ("j", Arc::new(Decimal128Array::from(vec![125]).with_precision_and_scale(5, 2).unwrap())),
            ("k", Arc::new(StringArray::from(vec![None::<&str>]))),
        ];
        let names = names(&["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
        let expected = [
            Param::Int(-7),
            Param::Double(u64::MAX as f64),
            Param::Double(1.5),
            Param::Text("it's".to_owned()),
            Param::Bool(true),
            Param::Null,
            Param::Instant(1_000_001_000),
            Param::Instant(86_400_000_000_000),
            Param::Text("01ff".to_owned()),
            Param::Double(1.25),
            Param::Null,
        ];
        assert_eq!(of_batches(&[batch(columns)], &names).unwrap(), Params::List(expected.to_vec()));
    }

    #[test]
    fn names_go_by_name_and_else_by_place() {
        let two = |a: &'static str, b: &'static str| {
            let columns: Vec<(&str, ArrayRef)> =
                vec![(a, Arc::new(Int64Array::from(vec![1]))), (b, Arc::new(Int64Array::from(vec![2])))];
            of_batches(&[batch(columns)], &names(&["from", "to"])).unwrap()
        };
        let map = |from: i64, to: i64| {
            let values = [("from".to_owned(), Param::Int(from)), ("to".to_owned(), Param::Int(to))];
            Params::Map(values.into())
        };
        assert_eq!(two("$to", "from"), map(2, 1));
        assert_eq!(two("0", "1"), map(1, 2));
    }

    #[test]
    fn another_number_of_rows_or_values_is_an_error() {
        let numbers = |rows: Vec<i64>| batch(vec![("1", Arc::new(Int64Array::from(rows)) as ArrayRef)]);
        for (batches, names) in [
            (vec![], names(&["1"])),
            (vec![numbers(vec![1, 2])], names(&["1"])),
            (vec![numbers(vec![1]), numbers(vec![1])], names(&["1"])),
            (vec![numbers(vec![1])], names(&[])),
            (vec![numbers(vec![1])], names(&["1", "2"])),
        ] {
            assert_eq!(of_batches(&batches, &names).unwrap_err().code, Code::Argument);
        }
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)])]);
        let error = of_batches(&[batch(vec![("1", Arc::new(list))])], &names(&["1"])).unwrap_err();
        assert!(error.message.contains("which is no parameter"), "{error:?}");
    }

    #[tokio::test]
    async fn changed_bytes_are_an_error_or_other_values_and_never_a_panic() {
        let whole = batch(vec![
            ("1", Arc::new(StringArray::from(vec!["some text of a parameter"]))),
            ("2", Arc::new(Int64Array::from(vec![7]))),
        ]);
        let messages = batches_to_flight_data(&whole.schema(), vec![whole.clone()]).unwrap();
        let clock = crate::clock::Clock::manual(0, 3);
        let names = names(&["1", "2"]);
        let send = |messages: Vec<FlightData>| {
            let names = &names;
            async move { read(futures::stream::iter(messages.into_iter().map(Ok)), names).await }
        };
        let sent = Params::List(vec![Param::Text("some text of a parameter".to_owned()), Param::Int(7)]);
        assert_eq!(send(messages.clone()).await.unwrap(), sent);
        for _ in 0..500 {
            let mut changed = messages.clone();
            let at = usize::try_from(clock.random() % changed.len() as u64).unwrap();
            let mut bytes = changed[at].data_header.to_vec();
            if !bytes.is_empty() {
                let place = usize::try_from(clock.random() % bytes.len() as u64).unwrap();
                bytes[place] = clock.random() as u8;
                changed[at].data_header = bytes.into();
            }
            if let Err(error) = send(changed).await {
                assert_eq!(error.code, Code::Argument);
            }
        }
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
        let packed = FlightDataEncoderBuilder::new().with_options(options).build(futures::stream::iter([Ok(whole)]));
        let packed: Vec<FlightData> = packed.map(Result::unwrap).collect().await;
        assert!(send(packed).await.unwrap_err().message.contains("compressed"));
        let large = vec![FlightData { data_header: vec![0; 2 << 20].into(), ..FlightData::default() }];
        assert!(send(large).await.unwrap_err().message.contains("more than 1 MiB"));
    }
}
