//! Claims about values that clients send.

use super::*;

fn text(of: Scalar, value: &str) -> Result<Param, &'static str> {
    read(1, Kind::One(of), false, Some(&Bytes::copy_from_slice(value.as_bytes())), &TimeZone::UTC)
        .map_err(|problem| problem.state)
}

fn binary(of: Scalar, value: &[u8]) -> Result<Param, &'static str> {
    read(1, Kind::One(of), true, Some(&Bytes::copy_from_slice(value)), &TimeZone::UTC).map_err(|problem| problem.state)
}

fn array(value: &str) -> Option<Vec<Param>> {
    match read(1, Kind::Many(Scalar::Text), false, Some(&Bytes::copy_from_slice(value.as_bytes())), &TimeZone::UTC) {
        Ok(Param::Many(elements)) => Some(elements),
        _ => None,
    }
}

#[test]
fn a_value_means_the_same_as_text_and_in_binary() {
    let ns = 1_700_000_000_123_456_000;
    for form in [
        "2023-11-14 22:13:20.123456+00",
        "2023-11-14T22:13:20.123456Z",
        "2023-11-14 23:13:20.123456+01:00",
        "2023-11-14 22:13:20.123456",
    ] {
        assert_eq!(text(Scalar::Timestamptz, form), Ok(Param::Instant(ns)), "{form}");
    }
    assert_eq!(binary(Scalar::Timestamptz, &(ns / 1_000 - EPOCH_US).to_be_bytes()), Ok(Param::Instant(ns)));
    assert_eq!(text(Scalar::Int8, " -7 "), Ok(Param::Int(-7)));
    for bytes in [(-7_i16).to_be_bytes().to_vec(), (-7_i32).to_be_bytes().to_vec(), (-7_i64).to_be_bytes().to_vec()] {
        assert_eq!(binary(Scalar::Int8, &bytes), Ok(Param::Int(-7)));
    }
    assert_eq!(text(Scalar::Bytea, "\\xab01"), binary(Scalar::Bytea, &[0xab, 1]));
    let date = Param::Cast { text: Some("2000-01-02".to_owned()), to: To::Date };
    assert_eq!(binary(Scalar::Date, &1_i32.to_be_bytes()), Ok(date));
    let numeric = [2_i16, 0, 0x4000, 3, 1234, 5670].map(i16::to_be_bytes).concat();
    assert_eq!(binary(Scalar::Numeric, &numeric), Ok(Param::Double(-1234.567)));
    assert_eq!(text(Scalar::Numeric, "-1234.567"), Ok(Param::Double(-1234.567)));
    let largest = [5_i16, 4, 0, 0, 1844, 6744, 737, 955, 1614].map(i16::to_be_bytes).concat();
    assert_eq!(binary(Scalar::Numeric, &largest), Ok(Param::Unsigned(18_446_744_073_709_551_614)));
    assert_eq!(text(Scalar::Numeric, "18446744073709551614"), Ok(Param::Unsigned(18_446_744_073_709_551_614)));
    assert_eq!(text(Scalar::Numeric, "7"), Ok(Param::Int(7)));
    assert_eq!(text(Scalar::Timestamp, "2023-11-14 23:13:20.123456+01"), Ok(Param::Instant(ns)));
    assert_eq!(binary(Scalar::Timestamp, &(ns / 1_000 - EPOCH_US).to_be_bytes()), Ok(Param::Instant(ns)));
    let object = Ok(Param::Text("{}".to_owned()));
    assert_eq!((binary(Scalar::Jsonb, b"\x01{}"), binary(Scalar::Json, b"{}")), (object.clone(), object));
    assert_eq!(read(1, Kind::TEXT, false, None, &TimeZone::UTC), Ok(Param::Null));
}

#[test]
fn a_time_without_an_offset_is_one_of_the_zone() {
    let ns = 1_700_000_000_000_000_000;
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let read = |value: &str| {
        read(1, Kind::One(Scalar::Timestamptz), false, Some(&Bytes::copy_from_slice(value.as_bytes())), &zone).unwrap()
    };
    assert_eq!(read("2023-11-14 23:13:20"), Param::Instant(ns));
    assert_eq!(read("2023-11-14 22:13:20+00"), Param::Instant(ns));
    let hour = 3_600_000_000_000;
    assert_eq!(local(Param::Instant(ns + hour), &zone), Param::Instant(ns));
    let many = Param::Many(vec![Param::Instant(ns + hour), Param::Null]);
    assert_eq!(local(many, &zone), Param::Many(vec![Param::Instant(ns), Param::Null]));
}

#[test]
fn what_is_no_value_of_the_type_is_refused() {
    assert_eq!(text(Scalar::Int8, "seven"), Err("22P02"));
    assert_eq!(text(Scalar::Bool, "maybe"), Err("22P02"));
    assert_eq!(text(Scalar::Bytea, "\\xa"), Err("22P02"));
    assert_eq!(binary(Scalar::Int8, &[1, 2, 3]), Err("22P03"));
    assert_eq!(binary(Scalar::Text, &[0xff]), Err("22P03"));
    assert_eq!(binary(Scalar::Numeric, &[0, 1]), Err("22P03"));
    assert_eq!(binary(Scalar::Jsonb, b"{}"), Err("22P03"));
    assert_eq!(binary(Scalar::Numeric, &[0x7f; 8]), Err("22P03"));
    assert_eq!(binary(Scalar::Timestamptz, &i64::MAX.to_be_bytes()), Err("22P03"));
    let not_utf8 = Bytes::from_static(&[0xff]);
    assert_eq!(
        read(1, Kind::TEXT, false, Some(&not_utf8), &TimeZone::UTC).map_err(|problem| problem.state),
        Err("22021")
    );
}

#[test]
fn arrays_of_text_are_read_with_their_quotes() {
    let text = |text: &str| Param::Text(text.to_owned());
    assert_eq!(array("{}"), Some(vec![]));
    assert_eq!(
        array(r#"{a, "b,c" ,NULL,"","q\"\\"}"#),
        Some(vec![text("a"), text("b,c"), Param::Null, text(""), text("q\"\\")])
    );
    for wrong in ["", "a", "{", "{\"a}", "{a,{b}}", "{\"a\"b}", "{a\\", "{,a}", "{a,}"] {
        assert_eq!(array(wrong), None, "{wrong}");
    }
}

#[test]
fn arrays_in_binary_are_read_within_their_bytes() {
    let mut bytes = [1_i32, 1, 20, 2, 1, 8].map(i32::to_be_bytes).concat();
    bytes.extend(5_i64.to_be_bytes());
    bytes.extend((-1_i32).to_be_bytes());
    let of = |bytes: &[u8]| from_binary(Kind::Many(Scalar::Int8), bytes);
    assert_eq!(of(&bytes), Some(Param::Many(vec![Param::Int(5), Param::Null])));
    for end in 0..bytes.len() {
        assert_eq!(of(&bytes[..end]), None, "cut at {end}");
    }
    bytes[12..16].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(of(&bytes), None);
}

#[test]
fn intervals_are_read_with_colons() {
    let read = |text: &str| match from_text(Kind::One(Scalar::Interval), text, &TimeZone::UTC) {
        Some(Param::Cast { text, .. }) => text.unwrap(),
        other => format!("{other:?}"),
    };
    assert_eq!(read("05:00:00"), "5 hours 0 minutes 0 seconds");
    assert_eq!(read("1 day, -1:02:03.5"), "1 day -1 hours -2 minutes -3.5 seconds");
    assert_eq!(read("2 mons"), "2 mons");
    assert_eq!(read("1:x"), "None");
}
