//! A table of documented cases for each built-in of bpmn.md 9.

use super::super::builtins;
use super::{check, refused, result};

#[test]
fn conversion() {
    check(&[
        ("string(1.0)", "\"1\""),
        ("string(\"a\")", "\"a\""),
        ("string([1, \"a\"])", "\"[1, \\\"a\\\"]\""),
        ("string(null)", "null"),
        ("number(\"1.5\")", "1.5"),
        ("number(\"1 000,5\", \" \", \",\")", "1000.5"),
        ("number(\"1,000.5\", \",\", \".\")", "1000.5"),
        ("number(from: \"1,5\", decimal separator: \",\")", "1.5"),
        ("number(\"x\")", "null"),
        ("number(\"1.5\", \".\", \".\")", "null"),
        ("number(\"1.5\", null, \",\")", "null"),
        ("number(5)", "5"),
        ("context([{key: \"a\", value: 1}, {key: \"b\", value: null}])", "{a: 1, b: null}"),
        ("context({key: \"a\", value: 1})", "{a: 1}"),
        ("context([{key: \"a\", value: 1}, {key: \"a\", value: 2}])", "null"),
        ("context([{key: \"a\"}])", "null"),
        (
            "from json(\"{\\\"a\\\": [1, 0.1234567890123456789012345678901234, \\\"\\\\u00e4\\\"]}\").a[2]",
            "0.1234567890123456789012345678901234",
        ),
        ("from json(\"[1\")", "null"),
        ("from json(\"01\")", "null"),
        ("to json({a: [1.50, null, \"x\\n\"]})", "\"{\\\"a\\\":[1.5,null,\\\"x\\\\n\\\"]}\""),
        ("from json(to json(order)) = order", "true"),
    ]);
}

#[test]
fn boolean_and_test() {
    check(&[
        ("not(yes)", "false"),
        ("is defined(a)", "true"),
        ("is defined(missing)", "false"),
        ("is defined(order.nothing)", "false"),
        ("is defined(none)", "false"),
        ("get or else(missing, 7)", "7"),
        ("get or else(a, 7)", "1"),
    ]);
    assert!(result("is defined(missing.more)").unwrap().1.is_empty(), "to ask is no surprise");
    assert_eq!(result("get or else(a, missing)").unwrap().1.len(), 1);
}

#[test]
fn string() {
    check(&[
        ("string length(\"häß😀\")", "4"),
        ("substring(\"foobar\", 3)", "\"obar\""),
        ("substring(\"foobar\", 3, 3)", "\"oba\""),
        ("substring(\"foobar\", -2, 1)", "\"a\""),
        ("substring(\"😀foobar\", 2, 3)", "\"foo\""),
        ("substring(\"foobar\", 10)", "\"\""),
        ("substring(\"foobar\", 0)", "null"),
        ("substring(\"foobar\", 1, -1)", "null"),
        ("substring(string: \"foobar\", start position: 4)", "\"bar\""),
        ("substring before(\"foobar\", \"bar\")", "\"foo\""),
        ("substring before(\"foobar\", \"xyz\")", "\"\""),
        ("substring before(\"foobar\", \"\")", "\"\""),
        ("substring after(\"foobar\", \"ob\")", "\"ar\""),
        ("substring after(\"foobar\", \"\")", "\"foobar\""),
        ("substring after(\"\", \"a\")", "\"\""),
        ("upper case(\"aBc4\")", "\"ABC4\""),
        ("lower case(\"aBc4\")", "\"abc4\""),
        ("trim(\" a b \")", "\"a b\""),
        ("contains(\"foobar\", \"of\")", "false"),
        ("contains(\"foobar\", \"ob\")", "true"),
        ("starts with(\"foobar\", \"fo\")", "true"),
        ("ends with(\"foobar\", \"r\")", "true"),
        ("contains(\"a\", 1)", "null"),
        ("contains(null, \"a\")", "null"),
        ("upper case([\"a\"])", "\"A\""),
        ("matches(\"foobar\", \"^fo*b\")", "true"),
        ("matches(\"FOO\", \"foo\", \"i\")", "true"),
        ("matches(\"foo\", \"(\")", "null"),
        ("matches(\"foo\", \"f\", \"q\")", "null"),
        ("matches(\"aa\", \"(a)\\\\1\")", "null"),
        ("replace(\"abcd\", \"(ab)|(a)\", \"[1=$1][2=$2]\")", "\"[1=ab][2=]cd\""),
        ("replace(\"a1b2\", \"([0-9])\", \"$1x\")", "\"a1xb2x\""),
        ("replace(\"abc\", \"B\", \"\\\\$\", \"i\")", "\"a$c\""),
        ("split(\"John Doe\", \"\\\\s\")", "[\"John\", \"Doe\"]"),
        ("split(\"a;b;;c\", \";\")", "[\"a\", \"b\", \"\", \"c\"]"),
        ("extract(\"references are 1234, 1256, 1378\", \"12[0-9]*\")", "[\"1234\", \"1256\"]"),
        ("string join([\"a\", null, \"c\"], \"_\")", "\"a_c\""),
        ("string join([\"a\", \"b\"])", "\"ab\""),
        ("string join([\"a\", \"b\"], \", \", \"<\", \">\")", "\"<a, b>\""),
        ("string join([])", "\"\""),
        ("string join([1])", "null"),
    ]);
}

#[test]
fn lists() {
    check(&[
        ("list contains(list, 2)", "true"),
        ("list contains(list, 9)", "false"),
        ("list contains([1, null], null)", "true"),
        ("list contains(null, 1)", "null"),
        ("sublist([1, 2, 3], 2)", "[2, 3]"),
        ("sublist([1, 2, 3], 1, 2)", "[1, 2]"),
        ("sublist([1, 2, 3], -2, 1)", "[2]"),
        ("sublist([1, 2, 3], 0)", "null"),
        ("append([1], 2, 3)", "[1, 2, 3]"),
        ("append([1], [2])", "[1, [2]]"),
        ("concatenate([1, 2], [3], 4)", "[1, 2, 3, 4]"),
        ("insert before([1, 3], 1, 2)", "[2, 1, 3]"),
        ("insert before([1, 3], -1, 2)", "[1, 2, 3]"),
        ("insert before([], 1, 2)", "[2]"),
        ("insert before([1], 5, 2)", "null"),
        ("remove([1, 2, 3], 2)", "[1, 3]"),
        ("remove([1], 2)", "null"),
        ("reverse([1, 2, 3])", "[3, 2, 1]"),
        ("index of([1, 2, 3, 2], 2)", "[2, 4]"),
        ("union([1, 2], [2, 3])", "[1, 2, 3]"),
        ("distinct values([1, 2, 3, 2, 1.0])", "[1, 2, 3]"),
        ("duplicate values([1, 2, 3, 2, 2, 1])", "[2, 1]"),
        ("flatten([[1, 2], [[3]], 4, []])", "[1, 2, 3, 4]"),
        ("partition([1, 2, 3, 4, 5], 2)", "[[1, 2], [3, 4], [5]]"),
        ("partition([1], 0)", "null"),
        ("is empty([])", "true"),
        ("is empty([null])", "false"),
        ("sort([3, 1, 2])", "[1, 2, 3]"),
        ("sort([\"b\", \"a\"])", "[\"a\", \"b\"]"),
        ("sort([3, 1, 4, 5, 2], function(x, y) x > y)", "[5, 4, 3, 2, 1]"),
        ("sort(list: order.lines, precedes: function(a, b) a.sku > b.sku).sku", "[\"b\", \"a\"]"),
        ("sort([1, \"a\"])", "null"),
        ("sort([1, 2], 3)", "null"),
        ("sort([1, 2], function(x) true)", "null"),
        ("sort([3, 1, 2], function(x, y) true)", "[2, 1, 3]"),
        ("list replace([2, 4, 7, 8], 3, 6)", "[2, 4, 6, 8]"),
        ("list replace([2, 4, 7, 8], function(item, newItem) item < newItem, 5)", "[5, 5, 7, 8]"),
        ("list replace([1], 2, 6)", "null"),
        ("list replace(list: [1, 2], match: function(item, newItem) item = 1, newItem: 6)", "[6, 2]"),
    ]);
}

#[test]
fn aggregates() {
    check(&[
        ("count([1, 2, 3])", "3"),
        ("count([])", "0"),
        ("count(1)", "1"),
        ("count(null)", "null"),
        ("min([3, 1, 2])", "1"),
        ("min(3, 1, 2)", "1"),
        ("max([\"a\", \"b\"])", "\"b\""),
        ("max([])", "null"),
        ("min([1, \"a\"])", "null"),
        ("min([true])", "null"),
        ("sum([1, 0.2, 3])", "4.2"),
        ("sum(1, 2)", "3"),
        ("sum([])", "null"),
        ("sum([1, null])", "null"),
        ("product([2, 3, 4])", "24"),
        ("mean([1, 2, 3, 4])", "2.5"),
        ("median(8, 2, 5, 3, 4)", "4"),
        ("median([6, 1, 2, 3])", "2.5"),
        ("mode(6, 3, 9, 6, 6)", "[6]"),
        ("mode([6, 1, 9, 6, 1])", "[1, 6]"),
        ("mode([])", "[]"),
        ("stddev(2, 4, 7, 5)", "2.081665999466132735282297706979931"),
        ("stddev([1])", "null"),
        ("all([true, false])", "false"),
        ("all([true, null])", "null"),
        ("all([])", "true"),
        ("any([false, null])", "null"),
        ("any(false, null, true)", "true"),
        ("any([])", "false"),
    ]);
}

#[test]
fn numbers() {
    check(&[
        ("decimal(1 / 3, 2)", "0.33"),
        ("decimal(1.5, 0)", "2"),
        ("decimal(2.5, 0)", "2"),
        ("decimal(1234, -2)", "1200"),
        ("floor(1.5)", "1"),
        ("floor(-1.56, 1)", "-1.6"),
        ("ceiling(1.5)", "2"),
        ("ceiling(-1.5)", "-1"),
        ("ceiling(1e-6000)", "1"),
        ("floor(-1e-6000)", "-1"),
        ("round up(5.5, 0)", "6"),
        ("round up(-1.121, 2)", "-1.13"),
        ("round down(-5.5, 0)", "-5"),
        ("round half up(-5.5, 0)", "-6"),
        ("round half up(1.126, 2)", "1.13"),
        ("round half down(5.5, 0)", "5"),
        ("round half down(-1.126, 2)", "-1.13"),
        ("round up(5.5)", "6"),
        ("abs(-10)", "10"),
        ("abs(\"a\")", "null"),
        ("modulo(12, 5)", "2"),
        ("modulo(-12, 5)", "3"),
        ("modulo(12, -5)", "-3"),
        ("modulo(10.1, 4.5)", "1.1"),
        ("modulo(10, 0)", "null"),
        ("modulo(1e6000, 7)", "1"),
        ("sqrt(16)", "4"),
        ("sqrt(2)", "1.414213562373095048801688724209698"),
        ("sqrt(-1)", "null"),
        ("sqrt(0)", "0"),
        ("log(1)", "0"),
        ("log(10)", "2.302585092994045684017991454684364"),
        ("log(0.001)", "-6.907755278982137052053974364053093"),
        ("log(0)", "null"),
        ("exp(0)", "1"),
        ("exp(5)", "148.4131591025766034211155800405523"),
        ("exp(-1)", "0.3678794411714423215955237701614609"),
        ("exp(100000)", "null"),
        ("exp(-1e30)", "null"),
        ("exp(1e-100)", "1"),
        ("2 ** 0.5", "1.414213562373095048801688724209698"),
        ("0 ** 0.5", "0"),
        ("(-8) ** 0.5", "null"),
        ("(-1) ** 1e40", "1"),
        ("10 ** 2.5", "316.2277660168379331998893544432719"),
        ("odd(5)", "true"),
        ("odd(2)", "false"),
        ("even(2)", "true"),
        ("even(-3)", "false"),
        ("even(1e40)", "true"),
        ("odd(1.5)", "false"),
    ]);
}

#[test]
fn contexts() {
    check(&[
        ("get value({foo: 123}, \"foo\")", "123"),
        ("get value({a: {b: 1}}, [\"a\", \"b\"])", "1"),
        ("get value({a: 1}, [\"a\", \"b\"])", "null"),
        ("get value({a: 1}, \"x\")", "null"),
        ("get value(null, \"x\")", "null"),
        ("get entries({foo: 123})", "[{key: \"foo\", value: 123}]"),
        ("context put({x: 1}, \"y\", 2)", "{x: 1, y: 2}"),
        ("context put({x: {y: 1}}, [\"x\", \"z\"], 2)", "{x: {y: 1, z: 2}}"),
        ("context put({x: 1}, [\"a\", \"b\"], 2)", "{a: {b: 2}, x: 1}"),
        ("context put({x: 1}, [\"x\", \"b\"], 2)", "null"),
        ("context put(context: {}, keys: [\"a\"], value: 1)", "{a: 1}"),
        ("context merge([{x: 1}, {y: 2}])", "{x: 1, y: 2}"),
        ("context merge({x: 1, y: 0}, {y: 2})", "{x: 1, y: 2}"),
        ("context merge([{x: 1}, 2])", "null"),
    ]);
}

#[test]
fn a_wrong_call_is_refused_with_the_right_one() {
    for (text, part) in [
        ("contains(\"a\")", "`contains(string, match)`"),
        ("not(true, false)", "`not(negand)`"),
        ("count()", "`count(list, …)`"),
        ("substring(string: \"a\", begin: 1)", "`substring(string, start position, length?)`"),
        ("substring(\"a\", start position: 1)", "all named or all by position"),
        ("substring(string: \"a\", string: \"b\")", "given twice"),
        ("substring(start position: 1, length: 2)", "`substring(string, start position, length?)`"),
    ] {
        let error = refused(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn every_built_in_takes_null_and_wrong_types_without_a_panic() {
    let values = ["null", "true", "-1", "0", "2", "1e6000", "-1e-6000", "\"a(\"", "[]", "[1, 2]", "[[null]]", "{a: 1}"];
    for builtin in builtins::all() {
        for first in values {
            for second in values {
                let mut arguments = vec![first, second, "3", "\"i\""];
                arguments.truncate(builtin.parameters.len());
                drop(result(&format!("{}({})", builtin.name, arguments.join(", "))));
            }
        }
    }
}

#[test]
fn a_warning_says_why_a_function_gave_null() {
    let (_, warnings) = result("contains(1, \"a\")").unwrap();
    assert_eq!(warnings[0].message, "`contains`: expected a string, found number");
}
