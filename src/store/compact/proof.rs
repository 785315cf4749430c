//! Whether the outputs of a job hold the rows of its inputs (storage.md 9).
//!
//! Duty: [`check`]. Guarantee: `Ok` means that rows, the sum of the rows' hashes and the rows of every key agree, the
//! dropped duplicates counted in. Left to others: what follows from a difference (`step`).

use crate::store::part::Totals;

/// Compares what the inputs' footers claim with what was written and what was dropped.
///
/// Errors: the first difference, as a sentence.
pub fn check(inputs: &Totals, outputs: &Totals, dropped: &Totals) -> Result<(), String> {
    let mut made = outputs.clone();
    made.add(dropped);
    if made.rows != inputs.rows {
        let (rows, gone) = (outputs.rows, dropped.rows);
        return Err(format!("{} rows went in, {rows} came out and {gone} were duplicates", inputs.rows));
    }
    if made.hash != inputs.hash {
        return Err(format!("the rows that went in have the hash {:016x}, the others {:016x}", inputs.hash, made.hash));
    }
    for (key, rows) in &inputs.present {
        let found = made.present.get(key).copied().unwrap_or(0);
        // A footer that lists not all keys tells only the least.
        if found < *rows || (!inputs.partial && found != *rows) {
            let (level, name) = key;
            return Err(format!("{rows} rows with the {level} key `{name}` went in, {found} came out"));
        }
    }
    match made.present.iter().find(|(key, _)| !inputs.partial && !inputs.present.contains_key(*key)) {
        Some(((level, name), rows)) => Err(format!("{rows} rows came out with the {level} key `{name}`, none went in")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(rows: u64, hash: u64, present: &[(&str, u64)]) -> Totals {
        let present = present.iter().map(|(key, rows)| (("attr", (*key).to_owned()), *rows)).collect();
        Totals { rows, hash, present, partial: false }
    }

    #[test]
    fn duplicates_are_part_of_the_sum_and_every_difference_is_named() {
        let inputs = totals(10, 3, &[("k", 4)]);
        let none = Totals::default();
        assert_eq!(check(&inputs, &totals(9, 5, &[("k", 3)]), &totals(1, u64::MAX - 1, &[("k", 1)])), Ok(()));
        assert!(check(&inputs, &totals(9, 3, &[("k", 4)]), &none).unwrap_err().contains("10 rows went in"));
        assert!(check(&inputs, &totals(10, 4, &[("k", 4)]), &none).unwrap_err().contains("hash"));
        assert!(check(&inputs, &totals(10, 3, &[("k", 5)]), &none).unwrap_err().contains("`k`"));
        assert!(check(&inputs, &totals(10, 3, &[("k", 4), ("m", 1)]), &none).unwrap_err().contains("`m`"));
    }

    #[test]
    fn a_footer_that_lists_some_keys_only_sets_a_floor() {
        let inputs = Totals { partial: true, ..totals(10, 3, &[("k", 4)]) };
        assert_eq!(check(&inputs, &totals(10, 3, &[("k", 6), ("m", 1)]), &Totals::default()), Ok(()));
        assert!(check(&inputs, &totals(10, 3, &[("k", 3)]), &Totals::default()).is_err());
    }
}
