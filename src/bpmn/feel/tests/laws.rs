//! Properties: printing, decimals against big integers, nothing panics.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, Signed, Zero};
use proptest::prelude::*;

use super::super::{Context, Names, Value, compile, number};
use super::{known, variables};

/// Texts of the grammar, most of which compile.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[0-9]{1,3}(\\.[0-9]{1,3})?",
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("\"a\\\"\\n ü\"".to_owned()),
        Just("a".to_owned()),
        Just("order.lines".to_owned()),
        Just("Current Status".to_owned()),
        Just("`odd - name`".to_owned()),
        Just("list".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let operator =
            prop::sample::select(vec!["+", "-", "*", "/", "**", "=", "!=", "<", "<=", ">", ">=", "and", "or", "in"]);
        prop_oneof![
            (two.clone(), operator.clone()).prop_map(|((a, b), o)| format!("({a}) {o} ({b})")),
            (two.clone(), operator).prop_map(|((a, b), o)| format!("{a} {o} {b}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("not({a})")),
            inner.clone().prop_map(|a| format!("({a}).key.`two words`")),
            two.clone().prop_map(|(a, b)| format!("({a})[{b}]")),
            two.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            two.clone().prop_map(|(a, b)| format!("{{k: {a}, \"l m\": {b}}}")),
            two.clone().prop_map(|(a, b)| format!("for x in {a} return {b}")),
            two.clone().prop_map(|(a, b)| format!("some x in {a}, y z in 1..2 satisfies {b}")),
            two.clone().prop_map(|(a, b)| format!("{a} in [({a})..({b}))")),
            two.clone().prop_map(|(a, b)| format!("({a}) in (> {a}, not(? = ({b})), -)")),
            two.clone().prop_map(|(a, b)| format!("({a}) between ({a}) and ({b})")),
            two.prop_map(|(a, b)| format!("if {a} then {b} else {a}")),
        ]
    })
}

/// `digits * 10^exponent`.
fn decimals() -> impl Strategy<Value = BigDecimal> {
    ("-?[1-9][0-9]{0,33}", -60i64..60)
        .prop_map(|(digits, exponent)| BigDecimal::new(digits.parse().unwrap(), -exponent))
}

/// Rounds the fraction `top / bottom` to 34 digits, half to even, by nothing but big integers.
fn rounded(top: BigInt, bottom: BigInt) -> BigDecimal {
    let ten = BigInt::from(10);
    let negative = top.is_negative() != bottom.is_negative();
    let (mut top, mut bottom) = (top.abs(), bottom.abs());
    if top.is_zero() {
        return BigDecimal::zero();
    }
    let (low, high) = (ten.pow(33), ten.pow(34));
    let mut exponent = 0;
    while &top / &bottom >= high {
        bottom *= &ten;
        exponent += 1;
    }
    while &top / &bottom < low {
        top *= &ten;
        exponent -= 1;
    }
    let (mut whole, rest) = (&top / &bottom, &top % &bottom);
    let twice: BigInt = &rest * 2;
    if twice > bottom || twice == bottom && &whole % 2u8 == BigInt::from(1) {
        whole += 1;
    }
    BigDecimal::new(if negative { -whole } else { whole }, -exponent)
}

/// `number` as a fraction of big integers.
fn fraction(number: &BigDecimal) -> (BigInt, BigInt) {
    let (digits, scale) = number.clone().into_bigint_and_scale();
    let by = BigInt::from(10).pow(u32::try_from(scale.abs()).unwrap());
    if scale > 0 { (digits, by) } else { (digits * by, BigInt::from(1)) }
}

fn agree(ours: Option<BigDecimal>, exact: BigDecimal) -> Result<(), TestCaseError> {
    let ours = ours.unwrap();
    prop_assert_eq!(&ours, &exact);
    prop_assert_eq!(number::text(&ours), number::text(&exact));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printed_text_parses_to_the_same_tree(text in expressions()) {
        if let Ok(expr) = compile(&text, &known()) {
            let printed = expr.to_string();
            // no names are needed to read what was printed
            let again = compile(&printed, &Names::new());
            let again = again.map_err(|e| TestCaseError::fail(format!("{text}\n{printed}\n{e}")))?;
            prop_assert_eq!(&again.root, &expr.root, "{}\n{}", text, printed);
            prop_assert_eq!(again.to_string(), printed);
        }
    }

    #[test]
    fn values_read_back_from_their_text_and_their_bytes(text in expressions()) {
        let result = compile(&text, &known()).ok().and_then(|expr| expr.eval(&variables(), 0).ok());
        if let Some((value, _)) = result {
            let read = compile(&value.to_string(), &Names::new()).unwrap().eval(&Context::new(), 0).unwrap().0;
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(&Value::from_json_text(&value.to_json_text()).unwrap(), &value);
            let bytes = postcard::to_allocvec(&value).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Value>(&bytes).unwrap(), value);
        }
    }

    #[test]
    fn any_text_compiles_or_is_refused_and_never_panics(text in "[ -~\\n]{0,80}|\\PC{0,60}|[()\\[\\]{}.,:?<>=+*/\"`ab1 -]{0,60}") {
        match compile(&text, &known()) {
            Ok(expr) => drop(expr.eval(&variables(), 0)),
            Err(error) => prop_assert!(error.column as usize <= text.chars().count() + 1, "{}", error),
        }
    }

    #[test]
    fn sums_differences_products_and_quotients_are_rounded_once(a in decimals(), b in decimals()) {
        let ((at, ab), (bt, bb)) = (fraction(&a), fraction(&b));
        agree(number::add(&a, &b), rounded(&at * &bb + &bt * &ab, &ab * &bb))?;
        agree(number::subtract(&a, &b), rounded(&at * &bb - &bt * &ab, &ab * &bb))?;
        agree(number::multiply(&a, &b), rounded(&at * &bt, &ab * &bb))?;
        agree(number::divide(&a, &b), rounded(&at * &bb, &ab * &bt))?;
        prop_assert_eq!(number::compare(&a, &b), (&at * &bb).cmp(&(&bt * &ab)));
    }

    #[test]
    fn whole_powers_are_rounded_once(a in "-?[1-9][0-9]{0,33}", shift in -34i64..34, n in 0u32..60) {
        let a = BigDecimal::new(a.parse().unwrap(), -shift);
        let (top, bottom) = fraction(&a);
        let (top, bottom) = (top.pow(n), bottom.pow(n));
        agree(super::super::power::power(&a, &BigDecimal::from(n)), rounded(top.clone(), bottom.clone()))?;
        agree(super::super::power::power(&a, &-BigDecimal::from(n)), rounded(bottom, top))?;
    }

    #[test]
    fn the_text_of_a_number_reads_back(a in decimals(), shift in -6000i64..6000) {
        let (digits, scale) = a.into_bigint_and_scale();
        let a = number::canonical(&BigDecimal::new(digits, scale + shift)).unwrap();
        let back = number::parse(&number::text(&a)).unwrap();
        prop_assert_eq!(back.as_bigint_and_scale(), a.as_bigint_and_scale());
    }
}

#[test]
fn the_generator_makes_texts_that_compile() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let texts: Vec<String> = (0..200).map(|_| expressions().new_tree(&mut runner).unwrap().current()).collect();
    let compiled = texts.iter().filter(|text| compile(text, &known()).is_ok()).count();
    assert!(compiled > 80, "{compiled} of 200");
}

#[test]
fn and_or_and_not_hold_their_laws_over_three_values() {
    let values = ["true", "false", "null"];
    let eval = |text: &str| compile(text, &Names::new()).unwrap().eval(&Context::new(), 0).unwrap().0;
    for a in values {
        assert_eq!(eval(&format!("not(not({a}))")), eval(a));
        for b in values {
            assert_eq!(eval(&format!("{a} and {b}")), eval(&format!("{b} and {a}")));
            assert_eq!(eval(&format!("not({a} and {b})")), eval(&format!("not({a}) or not({b})")));
            assert_eq!(eval(&format!("every x in [{a}, {b}] satisfies x")), eval(&format!("{a} and {b}")));
            assert_eq!(eval(&format!("some x in [{a}, {b}] satisfies x")), eval(&format!("{a} or {b}")));
            for c in values {
                assert_eq!(eval(&format!("{a} and ({b} and {c})")), eval(&format!("{a} and {b} and {c}")));
                assert_eq!(eval(&format!("{a} and ({b} or {c})")), eval(&format!("{a} and {b} or {a} and {c}")));
            }
        }
    }
}
