//! What is too long, too deep or too much ends in an error, on less than the 2 MiB of a thread.

use super::super::{Context, ErrorKind, MAX_TEXT, Names, Value, compile};
use super::refused;

fn budget(text: &str) -> String {
    compile(text, &Names::new()).unwrap().eval(&Context::new(), 0).expect_err(text).what
}

#[test]
fn texts_beyond_64_kib_are_refused() {
    assert!(compile(&format!("1{}", " ".repeat(MAX_TEXT - 1)), &Names::new()).is_ok());
    assert_eq!(refused(&" ".repeat(MAX_TEXT + 1)).kind, ErrorKind::Limit);
}

#[test]
fn nesting_beyond_128_is_refused_wherever_it_comes_from() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("-", ""),
        ("{a: ", "}"),
        ("not(", ")"),
        ("if true then ", " else 1"),
        ("if ", " then 1 else 1"),
        ("for x in ", " return 1"),
        ("some x in [1] satisfies ", ""),
        ("1 in (", ")"),
        ("1 in not(", ")"),
        ("1 in [1..(", ")]"),
        ("a[", "]"),
        ("1 + (", ")"),
        ("1 ** -(", ")"),
        ("`a`.b[", "]"),
        ("for x in [", "] return 1"),
    ] {
        let text = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        assert_eq!(refused(&text(2000)).kind, ErrorKind::Limit, "{open}");
        let fits = compile(&text(30), &Names::new()).unwrap_or_else(|e| panic!("{open}: {e}"));
        assert!(fits.eval(&Context::new(), 0).is_ok(), "{open}");
    }
    for (open, close) in [("(", ")"), ("[", "]"), ("1 + (", ")"), ("-", "")] {
        let text = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        assert!(compile(&text(127), &Names::new()).is_ok(), "{open}");
        assert_eq!(refused(&text(129)).kind, ErrorKind::Limit, "{open}");
    }
}

#[test]
fn the_deepest_trees_evaluate_print_and_drop_on_a_small_stack() {
    let run = move || {
        for (open, close) in [
            ("[", "][1]"),
            ("a[", "]"),
            ("{a: ", "}.a"),
            ("(if true then ", " else 1)"),
            ("(for x in [1] return ", ")[1]"),
            ("(for x in 1..1, y in [1] return ", ")[1]"),
            ("(some x in [1] satisfies ", ")"),
            ("sort([1, 2], function(x, y) ", ")[1]"),
            ("abs(", ")"),
            ("(1 in (", "))"),
            ("(1 in not(1, ", "))"),
        ] {
            // every precedence around every bracket
            let open = format!("false or true and 1 = 1 + 1 * 1 ** {open}");
            let text = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
            let deepest = (1..=128).rev().find_map(|n| Some((n, compile(&text(n), &Names::new()).ok()?)));
            let (n, expr) = deepest.unwrap();
            assert!(n >= 16, "{open}: {n}");
            drop(expr.eval(&Context::from([("a".to_owned(), Value::from(1))]), 0));
            assert!(!expr.clone().to_string().is_empty());
            assert_eq!(expr, expr.clone());
            assert!(!format!("{expr:?}").is_empty());
            assert_eq!(expr.mismatch().is_some(), expr.mismatch().is_some());
        }
    };
    std::thread::Builder::new().stack_size(1536 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_long_chain_is_flat() {
    for (first, more) in [
        ("1", " + 1"),
        ("1", " * 1"),
        ("1", " ** 1"),
        ("true", " and true"),
        ("true", " or 1"),
        ("a", ".b"),
        ("a", "[1]"),
    ] {
        let text = format!("{first}{}", more.repeat(60_000 / more.len()));
        let expr = compile(&text, &Names::new()).unwrap();
        expr.eval(&Context::new(), 0).unwrap();
        assert!(!expr.to_string().is_empty());
    }
}

#[test]
fn work_and_values_end_within_their_budget() {
    assert_eq!(budget("for x in 1..1000000000 return x"), "1,000,000 operations");
    assert_eq!(budget("every x in 1..1000, y in 1..1000 satisfies true"), "1,000,000 operations");
    assert_eq!(budget("for x in 1..100 return partial"), "10 MiB of values");
    let doubled = "{a: \"xxxxxxxxxxxxxxxx\", b: a + a + a + a + a + a + a + a, c: b + b + b + b + b + b + b + b, \
        d: c + c + c + c + c + c + c + c, e: d + d + d + d + d + d + d + d, f: e + e + e + e + e + e + e + e, \
        g: f + f + f + f + f + f + f + f, h: g + g + g + g + g + g + g + g}";
    assert_eq!(budget(doubled), "10 MiB of values");
}

#[test]
fn a_result_does_not_nest_deeper_from_step_to_step() {
    let nested = "for x in 1..1000 return [partial[-1]]";
    assert_eq!(budget(nested), "128 levels of lists and contexts in each other");
    let mut context = Context::new();
    context.insert("v".to_owned(), Value::Null);
    let expr = compile("[v]", &Names::new()).unwrap();
    let mut steps = 0;
    while let Ok((value, _)) = expr.eval(&context, 0) {
        context.insert("v".to_owned(), value);
        steps += 1;
    }
    assert_eq!(steps, 128);
}

#[test]
fn reading_a_large_variable_costs_what_is_taken_of_it() {
    let mut context = Context::new();
    let large: Vec<Value> = (0..400_000).map(Value::from).collect();
    context.insert("large".to_owned(), Value::List(large));
    let eval = |text: &str| compile(text, &Names::new()).unwrap().eval(&context, 0);
    for _ in 0..3 {
        assert_eq!(eval("large[1] + large[2] + large[-1]").unwrap().0, Value::from(400_000));
    }
    assert_eq!(eval("large = large and large = large and large = large").unwrap_err().what, "1,000,000 operations");
}
