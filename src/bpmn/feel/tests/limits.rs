//! What is too long, too deep or too much ends in an error, on a stack of 2 MiB.

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
    assert!(compile(&format!("{}1{}", "(".repeat(127), ")".repeat(127)), &Names::new()).is_ok());
}

#[test]
fn the_deepest_tree_evaluates_prints_and_drops_on_a_small_stack() {
    let open = "false or true and 1 = 1 + 1 * 1 ** -[";
    let close = "][1]";
    let run = move || {
        let mut deepest = 0;
        for n in 1..=128 {
            let text = format!("{}1{}", open.repeat(n), close.repeat(n));
            if let Ok(expr) = compile(&text, &Names::new()) {
                deepest = n;
                expr.eval(&Context::new(), 0).unwrap();
                assert!(!expr.clone().to_string().is_empty());
                assert_eq!(expr, expr.clone());
            }
        }
        deepest
    };
    let deepest = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
    assert!(deepest >= 30, "{deepest}");
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
