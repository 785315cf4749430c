//! What the index of a day answers beside those of its parts.

use super::*;
use crate::store::part::Part;

const DATE: &str = "2023-11-14";
const FILE: &str = "index/trace/day-2023-11-14.tix";
const ROOM: u64 = 1 << 30;

/// Parts of one day with their rows, and their indexes.
struct Day {
    objects: Arc<InMemory>,
    indexes: Indexes,
    parts: Vec<Arc<Part>>,
    groups: Vec<Groups>,
}

impl Day {
    async fn of(groups: Vec<Groups>) -> Self {
        let objects = Arc::new(InMemory::new());
        let indexes = Indexes::new(objects.clone(), 1 << 20, IntGauge::new("a", "b").unwrap());
        let mut parts = Vec::new();
        for (number, groups) in groups.iter().enumerate() {
            let part = ulid(number as u128 + 1);
            let entry = entry(part, groups);
            put(&objects, &entry, file(part, groups)).await;
            parts.push(Arc::new(Part::new(entry)));
        }
        Self { objects, indexes, parts, groups }
    }

    /// As another process reads them.
    fn reader(&self) -> Indexes {
        Indexes::new(self.objects.clone(), 1 << 20, IntGauge::new("a", "b").unwrap())
    }

    async fn file(&self) -> Bytes {
        self.objects.get(&Path::from(FILE)).await.unwrap().bytes().await.unwrap()
    }

    /// What the index of the day says, part by part; `None` = ask the part's own.
    async fn found(&self, indexes: &Indexes, key: Key) -> Vec<Option<Found>> {
        let found: HashMap<String, Found> = indexes.find_in_day(DATE, &self.parts, &[key]).await.into_iter().collect();
        self.parts.iter().map(|part| found.get(&part.entry.path).cloned()).collect()
    }

    fn searched(&self, key: Key) -> Vec<Option<Found>> {
        self.groups.iter().map(|groups| Some(searched(groups, key))).collect()
    }
}

async fn dates(indexes: &Indexes) -> Vec<String> {
    indexes.days().await.into_iter().collect()
}

async fn random_day(seed: u64, sizes: &[&[usize]], traces: u64) -> (Day, Vec<Key>) {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let day = Day::of(sizes.iter().map(|sizes| random(&mut chance, sizes, traces)).collect()).await;
    let sought = (0..40).map(|at: u64| if at < 30 { chance.next_u64() % traces } else { traces + at });
    let sought = sought.map(|trace| Key::of(&trace.to_le_bytes())).collect();
    (day, sought)
}

#[tokio::test]
async fn the_index_of_a_day_says_of_each_part_what_its_own_says() {
    let sizes: &[&[usize]] = &[&[9_000, 40_000, 5], &[300], &[131_072], &[70; 600], &[20_000, 20_000]];
    let (day, sought) = random_day(30, sizes, 20_000).await;
    assert!(dates(&day.indexes).await.is_empty());
    // In whatever order they are named.
    let turned: Vec<_> = day.parts.iter().rev().cloned().collect();
    assert!(day.indexes.merge_day(DATE, &turned, ROOM).await.unwrap());
    assert_eq!(check_day(day.objects.as_ref(), FILE).await, None);
    for indexes in [day.indexes.clone(), day.reader()] {
        assert_eq!(dates(&indexes).await, [DATE]);
        assert!(indexes.has_in_day(DATE, &day.parts).await);
        for key in &sought {
            assert_eq!(day.found(&indexes, *key).await, day.searched(*key), "{key:?}");
        }
    }
}

#[tokio::test]
async fn a_trace_of_many_row_groups_of_many_parts_is_found_in_all_of_them() {
    // 1200 row groups have one trace: its entries fill blocks of their own.
    let giant = |rest: u64| -> Groups { (0..400).map(|group| vec![Key(9), Key(rest + group)]).collect() };
    let day = Day::of(vec![giant(1_000), giant(5), giant(2_000)]).await;
    assert!(day.indexes.merge_day(DATE, &day.parts, ROOM).await.unwrap());
    for key in [9, 1_000, 1_399, 5, 8, 10, 404, 2_399, 7_777].map(Key) {
        assert_eq!(day.found(&day.indexes, key).await, day.searched(key), "{key:?}");
    }
}

#[tokio::test]
async fn parts_that_came_later_or_left_or_have_no_room_are_asked_themselves() {
    let (mut day, sought) = random_day(31, &[&[9_000], &[300], &[8_000]], 5_000).await;
    let (all, key) = (day.parts.clone(), sought[0]);
    assert!(day.indexes.merge_day(DATE, &all[..2], ROOM).await.unwrap());
    assert!(!day.indexes.has_in_day(DATE, &all).await && day.indexes.has_in_day(DATE, &all[..2]).await);
    let right = day.searched(key);
    let without_the_third = [right[0].clone(), right[1].clone(), None];
    assert_eq!(day.found(&day.indexes, key).await, without_the_third);
    // The second has left; of one that is not the part it names nothing is said.
    let other = entry(ulid(1), &vec![day.groups[0][0][1..].to_vec()]);
    day.parts = vec![Arc::new(Part::new(other)), all[2].clone()];
    assert_eq!(day.found(&day.indexes, key).await, [None, None]);
    day.parts = all;
    let room: usize = day.groups[..2].iter().enumerate().map(|(at, of)| file(ulid(at as u128 + 1), of).len()).sum();
    assert!(day.indexes.merge_day(DATE, &day.parts, room as u64).await.unwrap());
    assert_eq!(day.found(&day.indexes, key).await, without_the_third, "it has no room");
    assert!(day.indexes.merge_day(DATE, &day.parts, ROOM).await.unwrap());
    assert_eq!(day.found(&day.indexes, key).await, right, "the file is another one now");
    // Nothing is put for one part.
    day.objects.delete(&Path::from(FILE)).await.unwrap();
    assert!(day.reader().merge_day(DATE, &day.parts[..1], ROOM).await.unwrap());
    assert!(day.objects.get(&Path::from(FILE)).await.is_err());
}

#[tokio::test]
async fn who_has_the_fences_of_an_earlier_file_of_the_day_is_not_answered_by_a_later_one() {
    let (day, sought) = random_day(36, &[&[70; 40], &[900], &[800]], 300).await;
    let reader = day.reader();
    assert!(day.indexes.merge_day(DATE, &day.parts[1..], ROOM).await.unwrap());
    for key in &sought {
        let right = day.searched(*key);
        assert_eq!(day.found(&reader, *key).await, [None, right[1].clone(), right[2].clone()], "{key:?}");
    }
    // The row groups of the first part come before those of the others now.
    assert!(day.indexes.merge_day(DATE, &day.parts, ROOM).await.unwrap());
    let held = day.groups[1][0][0];
    assert_eq!(day.found(&reader, held).await, [None, None, None]);
    // It has let go of them.
    for key in &sought {
        assert_eq!(day.found(&reader, *key).await, day.searched(*key), "{key:?}");
    }
}

#[tokio::test]
async fn a_part_whose_index_is_lost_or_damaged_keeps_the_day_from_being_merged_and_is_noted() {
    let (day, sought) = random_day(32, &[&[9_000], &[7_000], &[8_000]], 5_000).await;
    day.objects.delete(&Path::from(path_of(&day.parts[0].entry.path))).await.unwrap();
    let mut bad = file(ulid(2), &day.groups[1]).to_vec();
    bad[40] ^= 1;
    put(&day.objects, &day.parts[1].entry, bad.into()).await;
    assert!(!day.indexes.merge_day(DATE, &day.parts, ROOM).await.unwrap());
    assert!(dates(&day.indexes).await.is_empty());
    let wanted: Vec<String> = day.indexes.take_wanted().into_iter().map(|part| part.path).collect();
    assert_eq!(wanted, [0, 1].map(|at: usize| day.parts[at].entry.path.clone()));
    for at in [0, 1] {
        put(&day.objects, &day.parts[at].entry, file(ulid(at as u128 + 1), &day.groups[at])).await;
    }
    assert!(day.indexes.merge_day(DATE, &day.parts, ROOM).await.unwrap());
    assert_eq!(day.found(&day.indexes, sought[3]).await, day.searched(sought[3]));
}

#[tokio::test]
async fn a_flipped_byte_of_a_day_gives_no_answer_or_the_right_one() {
    let (day, sought) = random_day(33, &[&[3_000], &[2_000], &[900]], 4_000).await;
    assert!(day.indexes.merge_day(DATE, &day.parts, ROOM).await.unwrap());
    let whole = day.file().await;
    let (mut chance, mut refused) = (ChaCha8Rng::seed_from_u64(34), 0);
    for at in 0..whole.len() {
        let mut bad = whole.to_vec();
        bad[at] ^= 1 << (chance.next_u64() % 8);
        day.objects.put(&Path::from(FILE), bad.into()).await.unwrap();
        let (indexes, key) = (day.reader(), sought[at % sought.len()]);
        // A reader lists the days before it asks for one.
        assert_eq!(dates(&indexes).await, [DATE]);
        let found = day.found(&indexes, key).await;
        for (found, right) in found.iter().zip(&day.searched(key)) {
            assert!(found.is_none() || found == right, "byte {at}, {key:?}");
        }
        if found[0].is_none() {
            refused += 1;
            assert!(dates(&indexes).await.is_empty(), "byte {at}: it is to be made again");
            assert!(check_day(day.objects.as_ref(), FILE).await.is_some(), "byte {at}");
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn days_without_parts_leave_and_other_files_are_no_days() {
    let (day, _) = random_day(35, &[&[300], &[300]], 50).await;
    for name in ["2023-11-13", "2023-13-40", "x"] {
        day.objects.put(&Path::from(format!("index/trace/day-{name}.tix")), "x".into()).await.unwrap();
    }
    assert!(day.indexes.merge_day(DATE, &day.parts, ROOM).await.unwrap());
    assert_eq!(dates(&day.indexes).await, ["2023-11-13", DATE]);
    day.indexes.keep_days(&[DATE].into()).await.unwrap();
    for indexes in [day.indexes.clone(), day.reader()] {
        assert_eq!(dates(&indexes).await, [DATE]);
    }
    assert!(is_day(FILE) && !is_day("index/trace/day-x.tix") && !is_day("index/sum/day-2023-11-14.tix"));
    assert_eq!(date_of(&day.parts[0].entry.path), Some(DATE));
}

#[tokio::test]
async fn the_file_of_a_day_is_made_of_the_bytes_that_its_description_names() {
    let day = Day::of(vec![vec![vec![Key(5); 3]], vec![vec![Key(5), Key(300)], vec![Key(300)]]]).await;
    assert!(day.indexes.merge_day(DATE, &day.parts, ROOM).await.unwrap());
    // key 5: group 0 zone 0, more; group 1 zone 0. key 300: delta 295, group 1 zone 0, more; group 2 zone 0.
    let entries = [5, 16, 0, 0xa7, 2, 48, 0];
    let block = [&[7, 0][..], &entries].concat();
    let seed = twox_hash::XxHash3_64::oneshot(&[ulid(1).to_bytes(), ulid(2).to_bytes()].concat());
    let sum = twox_hash::XxHash3_64::oneshot_with_seed(seed, &block).to_le_bytes();
    let mut want = [&sum[..], &block].concat();
    let mut footer = 17_u64.to_le_bytes().to_vec();
    for number in [2_u32, 1] {
        footer.extend(number.to_le_bytes());
    }
    for (part, groups) in [(ulid(1), 1_u32), (ulid(2), 2)] {
        footer.extend(part.to_bytes());
        footer.extend(groups.to_le_bytes());
    }
    for rows in [3_u32, 2, 1] {
        footer.extend(rows.to_le_bytes());
    }
    footer.extend(5_u64.to_le_bytes());
    footer.extend(u32::try_from(footer.len() + 20).unwrap().to_le_bytes());
    footer.extend(twox_hash::XxHash3_64::oneshot(&footer).to_le_bytes());
    footer.extend(b"WGTDX001");
    want.extend(footer);
    assert_eq!(day.file().await, want);
}
