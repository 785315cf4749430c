//! A table of documented cases for each rule of bpmn.md 9.

use super::super::{ErrorKind, Names, Type, Value, compile};
use super::{check, known, refused, result};

#[test]
fn literals_lists_and_contexts_are_themselves() {
    check(&[
        ("1", "1"),
        ("01", "1"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("\"a\\n\\\"b\\\\\"", "\"a\\n\\\"b\\\\\""),
        ("\"\\u00e4\\U01F600\\uD83D\\uDE00\"", "\"ä😀😀\""),
        ("true", "true"),
        ("null", "null"),
        ("[]", "[]"),
        ("[1, \"x\", [true]]", "[1, \"x\", [true]]"),
        ("{}", "{}"),
        ("{b: 1, \"a c\": 2, d: b + 1}", "{\"a c\": 2, b: 1, d: 2}"),
        ("{full name: \"Ada\", greeting: \"Hi \" + full name}", "{\"full name\": \"Ada\", greeting: \"Hi Ada\"}"),
        ("1 // one\n + /* two */ 2", "3"),
    ]);
}

#[test]
fn a_name_with_blanks_or_signs_is_the_longest_known_one() {
    check(&[
        ("Current Status", "\"open\""),
        ("Current   Status = \"open\"", "true"),
        ("`Current Status`", "\"open\""),
        ("Current + Status", "7"),
        ("a-b", "7"),
        ("a - b", "-1"),
        ("`a`-`b`", "-1"),
        ("order.customer.Postal Code", "\"1010\""),
        ("order.customer.`Postal Code`", "\"1010\""),
        ("for Current Item in list return Current Item * 2", "[2, 4, 6]"),
        ("for `x y` in list return x y", "[1, 2, 3]"),
    ]);
    let error = refused("Unknown Thing = 1");
    assert_eq!((error.kind, error.column), (ErrorKind::Syntax, 9));
    assert!(error.message.contains("backquotes"), "{error}");
}

#[test]
fn a_path_reads_keys_and_maps_over_lists() {
    check(&[
        ("order.total", "120.5"),
        ("order.lines.sku", "[\"a\", \"b\"]"),
        ("order.lines[2].price", "20.25"),
        ("order.lines.price[1]", "10"),
        ("{a: {b: 3}}.a.b", "3"),
        ("order.nothing", "null"),
        ("order.nothing.more", "null"),
        ("none.x", "null"),
        ("missing", "null"),
        ("[{a: 1}, {b: 2}].a", "[1, null]"),
        ("a.b", "null"),
    ]);
    let (_, warnings) = result("order.nothing").unwrap();
    assert_eq!(warnings[0].message, "no key `nothing`");
    let (_, warnings) = result("missing = null").unwrap();
    assert_eq!(warnings[0].message, "no variable `missing`");
}

#[test]
fn a_filter_selects_by_condition_or_by_position() {
    check(&[
        ("list[1]", "1"),
        ("list[-1]", "3"),
        ("list[0]", "null"),
        ("list[4]", "null"),
        ("list[-4]", "null"),
        ("list[item > 1]", "[2, 3]"),
        ("list[a]", "1"),
        ("order.lines[price > 15].sku", "[\"b\"]"),
        ("order.lines[item.price > 15][1].sku", "\"b\""),
        ("order.lines[count = a].sku", "[\"b\"]"),
        ("empty[1]", "null"),
        ("empty[item > 1]", "[]"),
        ("a[1]", "1"),
        ("a[item > 1]", "[]"),
        ("none[1]", "null"),
        ("list[none]", "[]"),
    ]);
}

#[test]
fn arithmetic_is_exact_and_binds_as_documented() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 3 - 2", "5"),
        ("-2 ** 2", "4"),
        ("2 ** 3 ** 2", "64"),
        ("8 / 2 / 2", "2"),
        ("2 * 3 ** 2", "18"),
        ("--1", "1"),
        ("0.1 + 0.2", "0.3"),
        ("1 / 3", "0.3333333333333333333333333333333333"),
        ("2 / 3", "0.6666666666666666666666666666666667"),
        ("1 / 0", "null"),
        ("2 ** -2", "0.25"),
        ("0 ** 0", "1"),
        ("0 ** -1", "null"),
        ("10 ** 34", "10000000000000000000000000000000000"),
        ("10 ** 35", "1e35"),
        ("10 ** -6", "0.000001"),
        ("10 ** -7", "1e-7"),
        ("-1.5 / 10 ** 7", "-1.5e-7"),
        ("10 ** 6144", "1e6144"),
        ("10 ** 6145", "null"),
        ("1e6144 * 10", "null"),
        ("1e-6144 / 10", "null"),
        ("1e6144 + 1e-6144", "1e6144"),
        ("1.0000001 ** 1000000000", "2.688103701264923810505600301477504e43"),
        ("1.10", "1.1"),
        ("100", "100"),
        ("9999999999999999999999999999999999 + 1", "10000000000000000000000000000000000"),
        ("1000000000000000000000000000000000.5 * 1", "1000000000000000000000000000000000"),
        ("1000000000000000000000000000000001.5 * 1", "1000000000000000000000000000000002"),
        ("\"a\" + \"b\" + \"c\"", "\"abc\""),
        ("one + 1", "6"),
    ]);
}

#[test]
fn null_and_wrong_types_give_null() {
    check(&[
        ("null = null", "true"),
        ("null != null", "false"),
        ("null = 1", "false"),
        ("1 != null", "true"),
        ("missing = null", "true"),
        ("1 = \"1\"", "null"),
        ("1 != \"1\"", "null"),
        ("1 < null", "null"),
        ("null >= null", "null"),
        ("\"a\" < 1", "null"),
        ("true < false", "null"),
        ("1 + null", "null"),
        ("\"a\" + null", "null"),
        ("\"a\" + 1", "null"),
        ("\"a\" - \"b\"", "null"),
        ("-none", "null"),
        ("-\"a\"", "null"),
        ("[1, 2] = [1, 2]", "true"),
        ("[1, 2] = [1]", "false"),
        ("[1, \"a\"] = [1, 2]", "null"),
        ("{a: 1} = {a: 1.0}", "true"),
        ("{a: 1} = {b: 1}", "false"),
        ("1.0 = 1", "true"),
        ("\"a\" < \"b\"", "true"),
        ("2 >= 2", "true"),
    ]);
}

#[test]
fn three_valued_logic_is_exhaustive() {
    check(&[
        ("true and true", "true"),
        ("true and false", "false"),
        ("true and null", "null"),
        ("false and null", "false"),
        ("null and false", "false"),
        ("null and null", "null"),
        ("1 and true", "null"),
        ("1 and false", "false"),
        ("true or null", "true"),
        ("null or true", "true"),
        ("false or null", "null"),
        ("false or false", "false"),
        ("1 or true", "true"),
        ("1 or false", "null"),
        ("not(true)", "false"),
        ("not(null)", "null"),
        ("not(1)", "null"),
        ("false or true and true", "true"),
        ("(true or true) and false", "false"),
    ]);
}

#[test]
fn if_takes_else_for_anything_but_true() {
    check(&[
        ("if yes then 1 else 2", "1"),
        ("if no then 1 else 2", "2"),
        ("if null then 1 else 2", "2"),
        ("if 1 then 1 else 2", "2"),
        ("if no then 1 else if yes then 2 else 3", "2"),
        ("1 + (if yes then 1 else 2)", "2"),
    ]);
}

#[test]
fn in_and_between_test_a_value() {
    check(&[
        ("1 in [1, 2]", "true"),
        ("3 in [1, 2]", "false"),
        ("1 in (1, 2)", "true"),
        ("a in list and yes", "true"),
        ("5 in [1..5]", "true"),
        ("5 in [1..5)", "false"),
        ("5 in [1..5[", "false"),
        ("1 in (1..5]", "false"),
        ("1 in ]1..5]", "false"),
        ("2 in (1..5)", "true"),
        ("b in [a..list[3]]", "true"),
        ("2 in > 1", "true"),
        ("2 in (> 1)", "true"),
        ("2 in (< 1, >= 2)", "true"),
        ("2 in not(1, 3)", "true"),
        ("2 in (not(2))", "false"),
        ("2 in (? > 1)", "true"),
        ("2 in (-)", "true"),
        ("2 in -", "true"),
        ("-1 in -1", "true"),
        ("null in [1..5]", "null"),
        ("null in [null]", "true"),
        ("2 in (null, 2)", "true"),
        ("2 in (\"a\", 3)", "null"),
        ("[1] in [[1], [2]]", "true"),
        ("[1, 2] in ([1, 2])", "true"),
        ("2 in (1 + 1)", "true"),
        ("4 in (1 + 1) * 2", "true"),
        ("2 between 1 and 3", "true"),
        ("2 between 1 and 3 and no", "false"),
        ("0 between 1 and 3", "false"),
        ("null between 1 and 3", "null"),
        ("1 instance of number", "true"),
        ("[1] instance of list<number>", "true"),
        ("[\"a\"] instance of list<number>", "false"),
        ("null instance of Any", "false"),
    ]);
}

#[test]
fn loops_go_through_lists_and_ranges() {
    check(&[
        ("for x in list return x * x", "[1, 4, 9]"),
        ("for x in 1..3 return x", "[1, 2, 3]"),
        ("for x in [1..3] return x", "[1, 2, 3]"),
        ("for x in 3..1 return x", "[3, 2, 1]"),
        ("for x in [1, 2], y in [10, 20] return x + y", "[11, 21, 12, 22]"),
        ("for x in list, y in 1..x return y", "[1, 1, 2, 1, 2, 3]"),
        ("for x in 1..5 return if x <= 2 then 1 else partial[-1] + partial[-2]", "[1, 1, 2, 3, 5]"),
        ("for x in a return x", "[1]"),
        ("for x in none return x", "null"),
        ("for x in 1..1.5 return x", "null"),
        ("some x in list satisfies x > 2", "true"),
        ("some x in list satisfies x > 3", "false"),
        ("some x in [1, null] satisfies x > 2", "null"),
        ("some x in [null, 3] satisfies x > 2", "true"),
        ("every x in list satisfies x > 0", "true"),
        ("every x in [null, 0] satisfies x > 0", "false"),
        ("every x in [null, 1] satisfies x > 0", "null"),
        ("every x in [] satisfies x > 0", "true"),
        ("some x in [] satisfies x > 0", "false"),
    ]);
}

#[test]
fn what_does_not_parse_says_where_and_what_was_expected() {
    for (text, column, part) in [
        ("", 1, "expected a value, found the end"),
        ("1 +", 4, "expected a value"),
        ("(1", 3, "expected `)`"),
        ("a == 1", 3, "write `=`"),
        ("a = 1 && b", 7, "write `and`"),
        ("!a", 1, "write `not(…)`"),
        ("'a'", 1, "strings stand in"),
        ("1 < 2 < 3", 7, "do not chain"),
        ("\"a", 1, "no end"),
        ("\"\\x\"", 2, "escapes"),
        ("`a", 1, "no end"),
        ("if a then b", 12, "expected `else`"),
        ("{a: 1, a: 2}", 8, "twice"),
        ("[1 2]", 4, "expected `,` or `]`"),
        ("? > 1", 1, "only in a test"),
        ("1 /* no end", 4, "expected a value, found `*`"),
        ("\"ä\" ) ", 5, "expected an operator or the end, found `)`"),
        ("x.", 3, "a name after `.`"),
    ] {
        let error = refused(text);
        assert_eq!((error.kind, error.column), (ErrorKind::Syntax, column), "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn what_is_not_built_or_unknown_or_chance_is_refused_by_name() {
    for (text, kind, part) in [
        ("now()", ErrorKind::NotBuilt, "`now`"),
        ("date and time(\"2025-01-01\")", ErrorKind::NotBuilt, "`date and time`"),
        ("@\"2025-01-01\"", ErrorKind::NotBuilt, "date and time literals"),
        ("[1..2]", ErrorKind::NotBuilt, "a range as a value"),
        ("{f: function(x) x}", ErrorKind::NotBuilt, "a function as a value"),
        ("random number()", ErrorKind::Nondeterministic, "`random number`"),
        ("uuid()", ErrorKind::Nondeterministic, "`uuid`"),
        ("nonsense(1)", ErrorKind::UnknownFunction, "`nonsense`"),
        ("order.total(1)", ErrorKind::UnknownFunction, "by its name"),
    ] {
        let error = refused(text);
        assert_eq!(error.kind, kind, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    }
    // without a call they are names like any other
    let names = Names::from(["date".to_owned(), "time".to_owned(), "now".to_owned()]);
    assert!(compile("date and time and now", &names).is_ok());
}

#[test]
fn an_expression_tells_what_it_reads() {
    let expr =
        compile("order.lines[price > limit].sku = (for x in list return x + b) and {k: 1, l: k}.l = 1", &known());
    let expr = expr.unwrap();
    let reads: Vec<_> = expr.reads().into_iter().collect();
    assert_eq!(reads, ["b", "limit", "list", "order", "price"]);
    let needs: Vec<_> = expr.needs().iter().collect();
    assert_eq!(needs, ["b", "list", "order"]);
}

#[test]
fn a_type_is_proven_from_the_text_alone() {
    for (text, expected) in [
        ("a > 1", Some(Type::Boolean)),
        ("a and b", Some(Type::Boolean)),
        ("\"x\"", Some(Type::String)),
        ("1 + a", Some(Type::Number)),
        ("a + \"x\"", Some(Type::String)),
        ("a + b", None),
        ("a - b", Some(Type::Number)),
        ("a", None),
        ("null", Some(Type::Null)),
        ("if a then 1 else 2", Some(Type::Number)),
        ("if a then 1 else true", None),
        ("string(a)", Some(Type::String)),
        ("[a]", Some(Type::List)),
    ] {
        assert_eq!(compile(text, &known()).unwrap().provable_type(), expected, "{text}");
    }
}

#[test]
fn a_comparison_of_different_types_is_found_wherever_it_stands() {
    for (text, expected) in [
        ("a = 1", None),
        ("a = null", None),
        ("1 = null", None),
        ("1 = \"1\"", Some((Type::Number, Type::String))),
        ("a - 1 > \"1\" or yes", Some((Type::Number, Type::String))),
        ("if yes then [count(list) = true] else []", Some((Type::Number, Type::Boolean))),
        ("list[string(item) < 3]", Some((Type::String, Type::Number))),
        ("string(a) in [1..2]", Some((Type::String, Type::Number))),
        ("1 between a and \"x\"", Some((Type::Number, Type::String))),
        ("[1] < 2", None),
    ] {
        assert_eq!(compile(text, &known()).unwrap().mismatch(), expected, "{text}");
    }
}

#[test]
fn json_passes_in_and_out_exactly_where_it_fits() {
    for text in ["0", "1", "-7", "9007199254740993", "18446744073709551615", "0.1", "1.5e300", "[1,{\"a\":null}]"] {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(Value::from_json(&json).to_json(), json, "{text}");
    }
    assert_eq!(Value::from_json(&serde_json::json!(1.0)).to_json().to_string(), "1");
    for text in ["1e400", "-0.1234567890123456789012345678901234", "{\"a\":[true,\"\\n\\u0001😀\"]}"] {
        assert_eq!(Value::from_json_text(&format!(" {text} ")).unwrap().to_json_text(), text);
    }
    for (text, offset) in
        [("", 0), ("[1", 2), ("01", 2), ("\"\\ud800\"", 7), ("1 2", 2), ("{a:1}", 1), ("\"\n\"", 1), ("1.", 2)]
    {
        assert_eq!(Value::from_json_text(text).unwrap_err().offset, offset, "{text}");
    }
    assert!(Value::from_json_text(&"[".repeat(100_000)).unwrap_err().message.contains("128"));
    let third = result("1 / 3").unwrap().0;
    assert_eq!(third.to_json().to_string(), "0.3333333333333333");
    assert_eq!(third.to_json_text(), "0.3333333333333333333333333333333333");
    assert_eq!(result("10 ** 400").unwrap().0.to_json(), serde_json::json!("1e400"));
}

#[test]
fn stored_values_come_back_from_a_format_that_describes_nothing() {
    let value = result("{n: 1.10, l: [null, true, \"x\"], big: 1e6144, third: 1 / 3, o: order}").unwrap().0;
    let bytes = postcard::to_allocvec(&value).unwrap();
    assert_eq!(postcard::from_bytes::<Value>(&bytes).unwrap(), value);
    let one = postcard::to_allocvec(&result("1.0").unwrap().0).unwrap();
    assert_eq!(one, postcard::to_allocvec(&Value::from(1)).unwrap());
    assert!(postcard::from_bytes::<Value>(&[2, 1, b'x']).is_err());
}
