//! Loading under any order of files (S1), and of any text (S6).

use std::fmt::Write as _;

use proptest::prelude::*;

use crate::semconv::Problem;
use crate::semconv::registry::{Registry, from_texts};
use crate::semconv::source::{Text, Texts};

fn texts(files: &[String]) -> Texts {
    let text = |(at, text): (usize, &String)| Text { name: format!("{at}.yaml"), text: text.clone() };
    let url = "schema_url: https://example.com/one/1.0".to_owned();
    let manifest = Text { name: "manifest.yaml".to_owned(), text: url };
    Texts { manifest: Some(manifest), definitions: files.iter().enumerate().map(text).collect() }
}

/// An item of a section, in flow style.
#[derive(Clone, Debug)]
struct Item {
    section: &'static str,
    text: String,
}

/// Files of the items, the one at `place[i]` holding item `i`.
fn files(items: &[Item], places: &[usize], count: usize) -> Vec<String> {
    let file = |file: usize| {
        let mut text = "file_format: definition/2\n".to_owned();
        for section in ["attributes", "attribute_groups", "spans"] {
            let own = items.iter().zip(places).filter(|(item, place)| item.section == section && **place == file);
            let _ = writeln!(text, "{section}:");
            for (item, _) in own {
                let _ = writeln!(text, "  - {}", item.text);
            }
        }
        text
    };
    (0..count).map(file).collect()
}

const COMMON: &str = "brief: b, stability: stable";

/// A registry without errors: groups include only later ones, and no two bring one key.
fn items() -> impl Strategy<Value = Vec<Item>> {
    let attributes = 12_usize;
    let level = prop::sample::select(vec!["required", "recommended", "opt_in", "{recommended: why}"]);
    let refined = (0..attributes, level, any::<bool>(), any::<bool>());
    let uses = prop::collection::vec(refined, 0..6);
    let groups = prop::collection::vec((uses.clone(), any::<bool>()), 3);
    let spans = prop::collection::vec((uses, 0..4_usize), 1..5);
    (groups, spans).prop_map(move |(groups, spans)| {
        let mut items = Vec::new();
        for at in 0..attributes {
            let of = ["string", "int", "template[string]", "{members: [{id: x}]}"][at % 4];
            items.push(Item { section: "attributes", text: format!("{{key: k.{at:02}, type: {quoted}, {COMMON}}}", quoted = quoted(of)) });
        }
        // Group 0 includes 1 includes 2; each brings keys of its own third.
        for (at, (uses, is_public)) in groups.iter().enumerate() {
            let own = uses.iter().map(|(key, level, note, stability)| (at * 4 + key % 4, *level, *note, *stability));
            let mut list = entries(own.collect());
            if at < 2 {
                list.push(format!("{{ref_group: g.{}}}", at + 1));
            }
            let head = if *is_public { format!("visibility: public, {COMMON}") } else { "visibility: internal".to_owned() };
            let text = format!("{{id: g.{at}, {head}, attributes: [{}]}}", list.join(", "));
            items.push(Item { section: "attribute_groups", text });
        }
        for (at, (uses, group)) in spans.iter().enumerate() {
            let mut list = entries(uses.clone());
            if *group < 3 {
                list.insert(list.len() / 2, format!("{{ref_group: g.{group}}}"));
            }
            let text = format!(
                "{{type: s.{at}, kind: client, name: {{note: n}}, {COMMON}, requirement_level: opt_in, attributes: [{}]}}",
                list.join(", ")
            );
            items.push(Item { section: "spans", text });
        }
        items
    })
}

fn quoted(of: &str) -> String {
    if of.starts_with('{') { of.to_owned() } else { format!("\"{of}\"") }
}

fn entries(mut uses: Vec<(usize, &'static str, bool, bool)>) -> Vec<String> {
    uses.sort_unstable();
    uses.dedup_by_key(|one| one.0);
    let entry = |(key, level, note, lowered): (usize, &str, bool, bool)| {
        let note = if note { ", note: more" } else { "" };
        let stability = if lowered { ", stability: beta" } else { "" };
        format!("{{ref: k.{key:02}, requirement_level: {level}{note}{stability}}}")
    };
    uses.into_iter().map(entry).collect()
}

fn load(files: &[String]) -> Result<Registry, Vec<Problem>> {
    from_texts(&texts(files)).map(|loaded| loaded.registry)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_registry_is_the_same_in_any_order_and_any_cut_into_files(
        items in items(),
        places in prop::collection::vec(0..4_usize, 32),
        shuffled in Just((0..32_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let whole = load(&files(&items, &vec![0; items.len()], 1)).unwrap();
        let order: Vec<usize> = shuffled.into_iter().filter(|at| *at < items.len()).collect();
        let other: Vec<Item> = order.iter().map(|at| items[*at].clone()).collect();
        let other = load(&files(&other, &places, 4)).unwrap();
        prop_assert_eq!(whole.v2_view(), other.v2_view());
        prop_assert_eq!(whole.template_view(), other.template_view());
        prop_assert_eq!(whole.hash(), other.hash());
    }

    #[test]
    fn no_change_of_a_registry_text_makes_it_panic(
        items in items(),
        at in any::<prop::sample::Index>(),
        len in 0..12_usize,
        by in "[a-z{}\\[\\]:,&*!|>\"'#%@ \\n-]{0,6}",
    ) {
        let mut text = files(&items, &vec![0; items.len()], 1).remove(0);
        let from = at.index(text.len());
        text.replace_range(from..(from + len).min(text.len()), &by);
        match load(&[text]) {
            Ok(registry) => prop_assert_eq!(registry.hash().len(), 64),
            Err(problems) => prop_assert!(problems.iter().any(|problem| problem.code.is_error())),
        }
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in "(file_format: definition/2\\n)?(.|\\n){0,200}") {
        if let Err(problems) = load(&[text]) {
            prop_assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
    }
}

#[test]
fn few_lines_that_multiply_are_refused_before_they_fill_memory() {
    // 2,000 spans that each use an attribute of 1 MiB: 2 GiB when written inline.
    let mut text = format!(
        "file_format: definition/2\nattributes:\n  - {{key: k, type: string, stability: stable, brief: {}}}\nspans:\n",
        "x".repeat(1 << 20)
    );
    for at in 0..2_000 {
        let _ = writeln!(
            text,
            "  - {{type: s.{at}, kind: client, name: {{note: n}}, {COMMON}, requirement_level: opt_in, attributes: [{{ref: k, note: n}}]}}"
        );
    }
    let problems = load(&[text]).unwrap_err();
    assert!(problems.iter().any(|p| p.to_string().starts_with("WG-SEM-010")), "{problems:?}");
}

#[test]
fn deep_chains_of_groups_end_with_an_error() {
    let mut text = "file_format: definition/2\nattribute_groups:\n".to_owned();
    for at in 0..5_000 {
        let next = at + 1;
        let _ = writeln!(text, "  - {{id: g.{at:06}, visibility: internal, attributes: [{{ref_group: g.{next:06}}}]}}");
    }
    text += "  - {id: g.005000, visibility: internal, attributes: []}\n";
    let problems = load(&[text]).unwrap_err();
    assert!(
        problems.iter().all(|p| p.text.starts_with("groups are nested deeper than 64 levels")),
        "{:?}",
        problems[0]
    );
}
