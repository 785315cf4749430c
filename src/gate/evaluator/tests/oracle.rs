//! P1: the same verdicts and episodes as a naive oracle, whatever order spans come in.

use proptest::prelude::*;

use super::super::super::state::tests::Transcript;
use super::super::super::state::{Phase, Rule};
use super::super::super::verdict::Input;
use super::*;

pub(super) const TICKS: i64 = 24;
pub(super) const PASS: f64 = 0.9;
pub(super) const WARN: f64 = 0.5;
pub(super) const CLEAR: f64 = 0.95;

/// Every tick again over all spans by a plain scan, judged by hand, fed to the literal table.
pub(super) fn oracle(
    all: &[(i64, &'static str, bool)],
    window_s: i64,
    rule: Rule,
    ticks: i64,
) -> Vec<(i64, String, Cause)> {
    let mut keys: BTreeMap<&str, (Transcript, u32)> = BTreeMap::new();
    let mut found = Vec::new();
    for tick in 0..=ticks {
        let t_s = tick * 30;
        let inside: Vec<_> = all.iter().filter(|(at, ..)| (t_s - window_s..t_s).contains(at)).collect();
        for (_, service, _) in &inside {
            keys.entry(service).or_insert_with(|| (Transcript::new(rule), 0));
        }
        let mut gone = Vec::new();
        for (service, (machine, missing)) in &mut keys {
            let own: Vec<_> = inside.iter().filter(|(_, s, _)| s == service).collect();
            let x = if own.is_empty() {
                // Nothing at all: no data, which holds. Others only: missing.
                *missing += u32::from(!inside.is_empty());
                if !inside.is_empty() && *missing >= 2 { Input::Gone } else { Input::Hold }
            } else {
                *missing = 0;
                let share = own.iter().filter(|(.., good)| *good).count() as f64 / own.len() as f64;
                match share {
                    s if own.len() < 3 => {
                        let _ = s;
                        Input::Hold
                    }
                    s if s >= CLEAR => Input::Clear,
                    s if s >= PASS => Input::Pass,
                    s if s >= WARN => Input::Warn,
                    _ => Input::Fail,
                }
            };
            let causes = machine.step(BEGIN_S + t_s, x);
            found.extend(causes.into_iter().map(|cause| (t_s, format!("service={service}"), cause)));
            if x == Input::Gone && machine.phase == Phase::Inactive {
                gone.push(*service);
            }
        }
        for service in gone {
            keys.remove(service);
        }
    }
    found
}

/// Spans in stretches of good, bad, half good and silence, for two services.
pub(super) fn history() -> impl Strategy<Value = Vec<(i64, &'static str, bool)>> {
    let stretch = (1_i64..8, 0_u8..5);
    let of = |service: &'static str| {
        prop::collection::vec(stretch.clone(), 3..10).prop_map(move |stretches| {
            let mut at = -60;
            let mut all = Vec::new();
            for (ticks, kind) in stretches {
                for step in 0..ticks * 5 {
                    let good = match kind {
                        0 => Some(true),
                        1 => Some(false),
                        2 => Some(step % 5 != 0),
                        3 => Some(step % 12 != 0),
                        _ => None,
                    };
                    all.extend(good.map(|good| (at, service, good)));
                    at += 6;
                }
            }
            all
        })
    };
    (of("a"), of("b")).prop_map(|(mut a, b)| {
        a.extend(b);
        a.retain(|(at, ..)| *at < TICKS * 30);
        a
    })
}

/// Keys of one tick have no order among each other; what one key does at a tick has.
pub(super) fn by_key(mut seen: Vec<(i64, String, Cause)>) -> Vec<(i64, String, Cause)> {
    seen.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_order_of_arrival_within_the_offset_gives_the_oracles_episodes(
        all in history(),
        delays in prop::collection::vec(0_i64..20, 400),
        pauses in prop::collection::vec(1_u64..40, 400),
        hold_s in prop::sample::select(vec![0_i64, 30, 45, 60]),
        keep_s in prop::sample::select(vec![0_i64, 30, 60]),
    ) {
        let seconds = |s: i64| Duration::from_secs(u64::try_from(s).unwrap());
        let gate = Gate {
            warn: Some(comparison(Test::AtLeast(WARN))),
            clear: comparison(Test::AtLeast(CLEAR)),
            min_samples: 3,
            hold_for: seconds(hold_s),
            keep_firing_for: seconds(keep_s),
            ..by_service(PASS)
        };
        // Each span comes at its end or up to 19 s later, so also behind spans that ended after it.
        let mut arrivals: Vec<_> =
            all.iter().zip(delays.iter().cycle()).map(|(span, delay)| (span.0 + delay, *span)).collect();
        arrivals.sort_by_key(|(at, _)| *at);
        let mut daemon = Daemon::new(vec![every_30s(vec![gate.clone()])]);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut left = arrivals.into_iter().peekable();
            for pause in pauses.iter().cycle() {
                while left.peek().is_some_and(|(at, _)| *at <= daemon.now_s()) {
                    let (_, span) = left.next().unwrap();
                    daemon.store.take([span]);
                }
                daemon.round().await;
                if daemon.now_s() >= TICKS * 30 + 20 {
                    break;
                }
                let left_s = u64::try_from(TICKS * 30 + 20 - daemon.now_s()).unwrap();
                daemon.wait((*pause).min(left_s));
            }
        });
        let rule = Rule {
            interval_ns: 30 * S, hold_for_ns: hold_s * S, keep_firing_for_ns: keep_s * S, ..Rule::default()
        };
        prop_assert_eq!(by_key(daemon.seen()), by_key(oracle(&all, 60, rule, TICKS)));
    }
}
