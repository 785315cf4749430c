//! The grammar by examples, faults by their columns, and texts that nobody would write.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::super::{Assertion, By, Check, Expect};
use super::*;

fn steps(text: &str) -> Vec<Vec<Step>> {
    Selector::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}")).paths
}

fn only_test(text: &str) -> Test {
    let paths = steps(&format!("span[{text}]"));
    let [path] = paths.as_slice() else { panic!("{paths:?}") };
    let [step] = path.as_slice() else { panic!("{path:?}") };
    let [test] = step.tests.as_slice() else { panic!("{step:?}") };
    test.clone()
}

#[test]
fn steps_of_paths_of_a_union_stand_in_the_relations_that_were_written() {
    use Relation::{Anywhere, Child, Descendant, LaterSibling};
    let relations = |text: &str| -> Vec<Vec<Relation>> {
        steps(text).iter().map(|path| path.iter().map(|step| step.relation).collect()).collect()
    };
    assert_eq!(relations("span"), [[Anywhere]]);
    assert_eq!(relations(" span[] "), [[Anywhere]]);
    assert_eq!(relations("span span>span ~ span"), [[Anywhere, Descendant, Child, LaterSibling]]);
    assert_eq!(relations("span:root > span:leaf,span"), [vec![Anywhere, Child], vec![Anywhere]]);
    assert_eq!(relations("span[name=\"a b\"]\n  span , span"), [vec![Anywhere, Descendant], vec![Anywhere]]);
}

#[test]
fn tests_are_separated_by_commas_or_blanks_and_all_are_kept() {
    for text in [
        "span[service=\"cart\" kind=\"server\"]",
        "span[service=\"cart\",kind=\"server\"]",
        "span[ service = \"cart\" , kind = 'server' ]",
    ] {
        let about = |column, word: &str| About::Compared(Field::Column(column), Op::Is, Literal::Text(word.to_owned()));
        let want = [about(Column::Service, "cart"), about(Column::Kind, "server")];
        let got: Vec<About> = steps(text)[0][0].tests.iter().map(|test| test.about.clone()).collect();
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn fields_operators_and_literals_are_read_as_written() {
    let attribute = |key: &str| Field::Attribute(key.to_owned());
    let text = |text: &str| Literal::Text(text.to_owned());
    let number = |number: &str| Literal::Number(number.to_owned());
    for (written, field, op, literal) in [
        ("attr.\"db.system.name\"=\"redis\"", attribute("db.system.name"), Op::Is, text("redis")),
        ("http.route!='/x'", attribute("http.route"), Op::IsNot, text("/x")),
        (
            "resource.\"k8s.pod.name\" ^= \"web-\"",
            Field::Resource("k8s.pod.name".to_owned()),
            Op::StartsWith,
            text("web-"),
        ),
        ("name$=\"ge\"", Field::Column(Column::Name), Op::EndsWith, text("ge")),
        ("type*=\"http\"", Field::Column(Column::Type), Op::Contains, text("http")),
        ("name contains \"x\"", Field::Column(Column::Name), Op::Contains, text("x")),
        ("name~=\"^a.*b$\"", Field::Column(Column::Name), Op::Matches, text("^a.*b$")),
        ("app.items>=12.50", attribute("app.items"), Op::AtLeast, number("12.50")),
        ("app.items<-3e-2", attribute("app.items"), Op::Below, number("-3e-2")),
        ("app.paid=true", attribute("app.paid"), Op::Is, Literal::Bool(true)),
        ("duration<1.5ms", Field::Column(Column::Duration), Op::Below, Literal::Duration(1_500_000)),
        ("duration>2h", Field::Column(Column::Duration), Op::Above, Literal::Duration(7_200_000_000_000)),
        ("attr.\"a\\\"b\\\\c\"=\"d'e\"", attribute("a\"b\\c"), Op::Is, text("d'e")),
        ("attr.\"not\"=\"x\"", attribute("not"), Op::Is, text("x")),
    ] {
        let test = only_test(written);
        assert_eq!(test, Test { is_negated: false, about: About::Compared(field, op, literal) }, "{written}");
    }
}

#[test]
fn not_and_exists_nest_and_two_nots_are_none() {
    let exists = About::Exists(Field::Attribute("http.route".to_owned()));
    for (text, is_negated) in [
        ("exists(http.route)", false),
        ("not(exists( attr.\"http.route\" ))", true),
        ("not( not ( exists(http.route) ) )", false),
        ("not(not(not(exists(http.route))))", true),
    ] {
        assert_eq!(only_test(text), Test { is_negated, about: exists.clone() }, "{text}");
    }
}

#[test]
fn pseudo_classes_stand_in_their_order() {
    use Narrowed::{Error, Last, Leaf, Nth, Root};
    let narrowed = |text: &str| steps(text)[0][0].narrowed.clone();
    assert_eq!(narrowed("span:error:first"), [Error, Nth(1)]);
    assert_eq!(narrowed("span:root:leaf:last:nth(3):nth_child( 2 )"), [Root, Leaf, Last, Nth(3), Nth(2)]);
}

#[test]
fn a_fault_names_its_column_and_nothing_is_selected_instead() {
    let stages = format!("span{}", " span".repeat(MOST_STAGES));
    let ranked = format!("span{}", ":first".repeat(MOST_STAGES));
    let paths = vec!["span"; MOST_PATHS + 1].join(",");
    let tests = format!("span[{}]", vec!["name='a'"; MOST_TESTS + 1].join(" "));
    let nots = format!("span[{}name='a'", "not(".repeat(MOST_NOTS + 1));
    for (text, column, what) in [
        ("", 1, "it ends here, `span` is expected"),
        ("  ", 3, "it ends here, `span` is expected"),
        ("spam", 1, "`spam` stands here, `span` is expected"),
        ("*", 1, "`*` stands here, `span` is expected"),
        ("span,", 6, "it ends here, `span` is expected"),
        ("span >", 7, "it ends here, `span` is expected"),
        ("span > > span", 8, "`>` stands here, `span` is expected"),
        ("span [name='a']", 6, "`[` stands here, `span` is expected"),
        ("span[name='a'][kind='server']", 15, "`[` stands here, `:`, `,`, a blank or the end is expected"),
        ("span]", 5, "`]` stands here, `:`, `,`, a blank or the end is expected"),
        ("span[", 6, "it ends here, a test is expected"),
        ("span[name]", 10, "`]` stands here, an operator is expected"),
        ("span[name=]", 11, "`]` stands here, a literal is expected"),
        ("span[name=cart]", 11, "`cart` is no literal"),
        ("span[name==\"a\"]", 10, "`==` is no operator"),
        ("span[name=\"a]", 11, "the quote is not closed"),
        ("span[name=\"a\\\"]", 11, "the quote is not closed"),
        ("span[name=\"a\0\"]", 13, "a NUL stands here"),
        ("span[name=\"a\"", 14, "it ends here, `]`, `,` or a blank is expected"),
        ("span[name=\"a\" ", 15, "it ends here, `]`, `,` or a blank is expected"),
        ("span[name=\"a\",]", 15, "`]` stands here, a test is expected"),
        ("span[name=\"a\"kind=\"server\"]", 14, "`k` stands here, `]`, `,` or a blank is expected"),
        ("span[nam=\"a\"]", 6, "there is no field `nam`"),
        ("span[é=\"a\"]", 6, "`é` stands here, a test is expected"),
        ("span[name=\"é\" x=\"a\"]", 15, "there is no field `x`"),
        ("span[a..b=\"a\"]", 6, "there is no field `a..b`"),
        ("span[attr.http.route=\"a\"]", 6, "`attr.` is followed by a key in quotes"),
        ("span[resource=\"a\"]", 6, "`resource.` is followed by a key in quotes"),
        ("span[attr.\"\"=\"a\"]", 11, "the key is empty"),
        ("span[exists(name]", 17, "`]` stands here, `)` is expected"),
        ("span[not(name=\"a\"]", 18, "`]` stands here, `)` is expected"),
        ("span[kind=\"sever\"]", 11, "`sever` is none of unspecified, internal, server, client, producer, consumer"),
        ("span[status^=\"ok\"]", 12, "`^=` does not fit here"),
        ("span[name>\"a\"]", 10, "`>` does not fit here"),
        ("span[name=5]", 11, "text is expected"),
        ("span[duration=5]", 15, "a duration is expected"),
        ("span[duration~=5ms]", 14, "`~=` does not fit here"),
        ("span[duration=-5ms]", 15, "the duration is negative or longer than 104 days"),
        ("span[duration=5000h]", 15, "the duration is negative or longer than 104 days"),
        ("span[duration=5d]", 16, "there is no unit `d`"),
        ("span[a.b=5ms]", 10, "an attribute has no unit"),
        ("span[a.b>\"5\"]", 10, "a number is expected"),
        ("span[a.b*=5]", 11, "text is expected"),
        ("span[a.b>true]", 9, "`>` does not fit here"),
        ("span[a.b=-]", 10, "`-` is no number"),
        ("span[a.b=1e999]", 10, "`1e999` is no number"),
        ("span[name~=\"(\"]", 12, "the pattern is no regular expression: unclosed group"),
        ("span:frist", 6, "there is no pseudo-class `:frist`"),
        ("span:", 6, "it ends here, a pseudo-class is expected"),
        ("span:nth", 9, "it ends here, `(` is expected"),
        ("span:nth()", 10, "`)` stands here, a number is expected"),
        ("span:nth(0)", 10, "`0` is no rank"),
        ("span:nth(99999999999)", 10, "`99999999999` is no rank"),
        ("span:nth(2", 11, "it ends here, `)` is expected"),
        (stages.as_str(), 41, "the path has more than 8 steps and ranks"),
        (ranked.as_str(), 1, "the path has more than 8 steps and ranks"),
        (paths.as_str(), 81, "there are more than 16 paths"),
        (tests.as_str(), 294, "the step has more than 32 tests"),
        (nots.as_str(), 42, "there are more than 8 `not(`"),
    ] {
        match Selector::parse(text) {
            Ok(selector) => panic!("{text}: {selector:?}"),
            Err(fault) => assert_eq!((fault.column, fault.what.as_str()), (column, what), "{text}"),
        }
    }
    assert_eq!(Selector::parse("span[nam=\"a\"]").unwrap_err().next, "did you mean `name`?");
    assert_eq!(Selector::parse("span[attr.a.b=\"a\"]").unwrap_err().next, "write `attr.\"a.b\"`");
    let long = format!("span[name=\"{}\"]", "x".repeat(MOST_BYTES));
    assert!(Selector::parse(&long).unwrap_err().what.contains("at most 4096 are read"));
}

/// Texts that are mutated.
const SEEDS: [&str; 8] = [
    "span[service=\"cart\" kind=\"server\"] span[attr.\"db.system.name\"=\"redis\"]",
    "span:root > span[name ~= \"^a(b|c)+$\"]:first, span[not(exists(http.route))]:last",
    "span[duration >= 1.5s, status != 'error'] ~ span[]:nth(3)",
    "span[a.b='it''s \\' \\\\ --'] span[resource.\"k\"*=\"$window_start; DROP\"]",
    "span[not(not(app.paid=true))]:leaf:error",
    "span[x.y=-12.5e-3 x.z<9007199254740993]",
    "span span span span span span span span",
    "span[name contains \"%_\u{1F980}é\"],span,span",
];
/// What is put into them.
const PIECES: [&str; 24] = [
    "span", "[", "]", "(", ")", "\"", "'", "\\", ":", ",", " ", ">", "~", "not(", "exists(", "attr.", "=", "^=", "1e5",
    "5ms", "\0", "é", "--", "$1",
];

/// One statement that only selects, whatever literals are in it.
fn statement_of(selector: Selector) -> Statement {
    let check = Check::Spans { select: selector.clone(), that: Vec::new(), expect: Expect::All };
    let assertion = Assertion {
        by: Some(By::RootName),
        wait_for: vec!["it's".to_owned()],
        is_complete: true,
        quiet: std::time::Duration::from_secs(10),
        give_up: std::time::Duration::from_secs(300),
        checks: vec![check, Check::Before { first: selector.clone(), then: selector }],
    };
    let sql = assertion.sql();
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, &sql).unwrap_or_else(|e| panic!("{e}\n{sql}"));
    assert_eq!(statements.len(), 1, "{sql}");
    statements.pop().unwrap()
}

#[test]
fn no_text_panics_a_fault_is_inside_it_and_what_is_read_is_one_statement() {
    let chance = crate::clock::Clock::manual(0, 1309);
    let below = |most: usize| usize::try_from(chance.random() % most as u64).unwrap();
    let (mut read, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut text: Vec<char> = SEEDS[round % SEEDS.len()].chars().collect();
        for _ in 0..below(4) {
            let at = below(text.len() + 1);
            match below(4) {
                0 => drop(text.drain(at..(at + 1 + below(3)).min(text.len()))),
                1 => drop(text.splice(at..at, PIECES[below(PIECES.len())].chars())),
                2 => text.truncate(at.max(1)),
                _ => {
                    let from = below(text.len() + 1);
                    let piece: Vec<char> = text[from..(from + below(20)).min(text.len())].to_vec();
                    text.splice(at..at, piece);
                }
            }
        }
        let text: String = text.into_iter().collect();
        match Selector::parse(&text) {
            Ok(selector) => {
                let stages = |path: &Vec<Step>| {
                    let ranks = |step: &Step| step.narrowed.iter().filter(|narrowed| narrowed.is_rank()).count();
                    path.iter().map(|step| 1 + ranks(step)).sum::<usize>()
                };
                assert!(selector.paths.iter().all(|path| (1..=MOST_STAGES).contains(&stages(path))), "{text}");
                read += 1;
                // Each hundredth: parsing SQL takes a thousand times as long.
                if read % 100 == 0 {
                    assert!(matches!(statement_of(selector), Statement::Query(_)), "{text}");
                }
            }
            Err(fault) => {
                let most = text.chars().count() + 1;
                assert!((1..=most).contains(&fault.column) && !fault.next.is_empty(), "{text}: {fault:?}");
                refused += 1;
            }
        }
    }
    assert!(read > 1_000 && refused > 1_000, "{read} {refused}");
}

#[test]
fn what_is_nested_or_long_is_refused_and_not_walked() {
    for text in
        ["span[".repeat(800), "not(".repeat(1_000), format!("span[{}", "not(".repeat(1_000)), "span>".repeat(800)]
    {
        assert!(Selector::parse(&text).is_err(), "{}", &text[..20]);
    }
    assert!(Selector::parse(&format!("span[name~=\"{}\"]", "(".repeat(2_000))).is_err());
    assert!(Selector::parse("span[name~=\"(x{1000}){1000}\"]").is_err(), "it compiles to too much");
}
