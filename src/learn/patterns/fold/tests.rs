//! Claims about the fold.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ALL: Thresholds = Thresholds { min_support: 1, min_effect: None, limit: 1000 };

fn seen(support: u64, n: u64) -> Seen {
    Seen { labels: BTreeMap::new(), support, n, rest: None, trace_ids: vec![[1; 16]], evidence: "{}".into() }
}

fn tick(t_ns: i64) -> Tick {
    Tick { t_ns, window_start_ns: t_ns - 10, cut_us: t_ns + 1, expire_ns: 100 }
}

fn rows(of: &[(&str, Seen)]) -> BTreeMap<String, Seen> {
    of.iter().map(|(key, seen)| ((*key).to_owned(), seen.clone())).collect()
}

#[test]
fn rows_below_a_threshold_are_left_out_and_counted() {
    let weak = Seen { rest: Some((50, 100)), ..seen(50, 100) };
    let strong = Seen { rest: Some((10, 1000)), ..seen(50, 100) };
    let no_rest = Seen { rest: Some((0, 0)), ..seen(50, 100) };
    let of = rows(&[("a", seen(4, 10)), ("b", strong), ("c", weak), ("d", no_rest)]);
    let selected = select(of, Thresholds { min_support: 5, min_effect: Some(2.0), limit: 10 });
    assert_eq!(selected.rows.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!((selected.below, selected.over_limit), (3, 0));
}

#[test]
fn over_the_limit_the_surest_effect_stays_then_support_then_key() {
    let of = rows(&[("a", seen(5, 10)), ("b", seen(5, 10)), ("c", seen(50, 100)), ("d", seen(1, 10))]);
    let kept = |limit| {
        let selected = select(of.clone(), Thresholds { limit, ..ALL });
        (selected.rows.into_keys().collect::<Vec<_>>().join(""), selected.over_limit)
    };
    assert_eq!(kept(1), ("c".to_owned(), 3));
    assert_eq!(kept(2), ("ac".to_owned(), 2));
    assert_eq!(kept(3), ("abc".to_owned(), 1));
}

#[test]
fn a_known_key_keeps_its_first_sight_and_its_traces_when_no_new_ones_come() {
    let mut known = BTreeMap::new();
    fold(&mut known, select(rows(&[("a", seen(5, 10))]), ALL), tick(100));
    let next = Seen { trace_ids: vec![], evidence: r#"{"x":1}"#.into(), ..seen(7, 9) };
    fold(&mut known, select(rows(&[("a", next)]), ALL), tick(150));
    let row = &known["a"];
    assert_eq!((row.first_seen_ns, row.last_seen_ns, row.windows, row.support, row.n), (100, 150, 2, 7, 9));
    assert_eq!((row.trace_ids.len(), row.evidence.as_str(), row.cut_us, row.expires_ns), (1, r#"{"x":1}"#, 151, 250));
}

#[test]
fn what_is_not_seen_for_expire_goes_at_that_tick_and_not_before() {
    let mut known = BTreeMap::new();
    fold(&mut known, select(rows(&[("a", seen(5, 10))]), ALL), tick(100));
    assert_eq!(fold(&mut known, Selected::default(), tick(199)).expired, 0);
    assert_eq!(known["a"].windows, 1, "an empty window changes no row");
    assert_eq!(fold(&mut known, Selected::default(), tick(200)).expired, 1);
    assert!(known.is_empty());
}

#[test]
fn above_the_bound_the_oldest_goes_then_the_last_key() {
    let mut known = BTreeMap::new();
    fold_bounded(&mut known, select(rows(&[("b", seen(5, 10))]), ALL), tick(100), 3);
    let of = rows(&[("a", seen(5, 10)), ("c", seen(5, 10)), ("d", seen(5, 10)), ("e", seen(5, 10))]);
    let gone = fold_bounded(&mut known, select(of, ALL), tick(110), 3);
    assert_eq!(gone.evicted, 2);
    assert_eq!(known.keys().collect::<Vec<_>>(), ["a", "c", "d"]);
}

/// 3.4 as it is written, over vectors.
pub(in crate::learn) fn fold_literally(
    known: &mut Vec<Row>,
    rows: &[(String, Seen)],
    thresholds: Thresholds,
    tick: Tick,
) {
    let low = |seen: &Seen| seen.effect().map(|effect| effect.low);
    let mut left: Vec<_> = rows
        .iter()
        .filter(|(_, seen)| seen.support >= thresholds.min_support)
        .filter(|(_, seen)| thresholds.min_effect.is_none() || low(seen) >= thresholds.min_effect)
        .cloned()
        .collect();
    left.sort_by(|(ka, a), (kb, b)| {
        let order = low(b).partial_cmp(&low(a)).unwrap();
        order.then(b.support.cmp(&a.support)).then(ka.cmp(kb))
    });
    left.truncate(thresholds.limit);
    left.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, seen) in left {
        let at = known.iter().position(|row| row.key == key);
        let before = at.map(|at| known.remove(at));
        let ids = before.as_ref().map(|row| row.trace_ids.clone()).filter(|_| seen.trace_ids.is_empty());
        known.push(Row {
            effect: seen.effect(),
            first_seen_ns: before.as_ref().map_or(tick.t_ns, |row| row.first_seen_ns),
            windows: before.map_or(0, |row| row.windows) + 1,
            trace_ids: ids.unwrap_or(seen.trace_ids),
            key,
            labels: seen.labels,
            support: seen.support,
            n: seen.n,
            rest: seen.rest,
            last_seen_ns: tick.t_ns,
            window_start_ns: tick.window_start_ns,
            cut_us: tick.cut_us,
            evidence: seen.evidence,
            expires_ns: tick.t_ns + tick.expire_ns,
        });
    }
    known.retain(|row| row.last_seen_ns + tick.expire_ns > tick.t_ns);
    known.sort_by(|a, b| a.key.cmp(&b.key));
}

prop_compose! {
    fn any_seen()(
        n in 1_u64..30, k in 1_u64..30, rest in proptest::option::of((0_u64..9, 0_u64..9)), ids in 0_usize..3,
    ) -> Seen {
        Seen {
            rest: rest.map(|(a, b)| (a.min(b), b)),
            trace_ids: vec![[u8::try_from(n).unwrap(); 16]; ids],
            ..seen(k.min(n), n)
        }
    }
}

proptest! {
    #[test]
    fn the_fold_is_section_3_4_written_out(
        ticks in proptest::collection::vec(proptest::collection::btree_map("[a-e]", any_seen(), 0..5), 1..12),
        min_support in 1_u64..5,
        min_effect in proptest::option::of(0.0_f64..1.0),
        limit in 1_usize..5,
        gap in 10_i64..60,
    ) {
        let thresholds = Thresholds { min_support, min_effect, limit };
        let (mut known, mut naive) = (BTreeMap::new(), Vec::new());
        for (at, rows) in ticks.iter().enumerate() {
            let tick = tick(i64::try_from(at + 1).unwrap() * gap);
            fold(&mut known, select(rows.clone(), thresholds), tick);
            let list: Vec<_> = rows.iter().map(|(key, seen)| (key.clone(), seen.clone())).collect();
            fold_literally(&mut naive, &list, thresholds, tick);
        }
        prop_assert_eq!(known.into_values().collect::<Vec<_>>(), naive);
    }
}
