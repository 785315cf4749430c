//! Row groups that are taken over as they are.

use object_store::ObjectStoreExt as _;

use super::*;
use crate::span::schema::attr_type;
use crate::store::part::{KeyEntry, SORTED, SORTED_GROUPS};

/// Rows of a flush that differ from those of others in all but their attributes, so that the same keys are promoted.
fn alike(flush: u64, rows: usize) -> RecordBatch {
    let attributes = samples::varied(40, &within_hour(40, HOUR_START_NS, rows), NOW_NS / 1000);
    let starts = within_hour(flush + 40, HOUR_START_NS, rows);
    let batch = samples::varied(flush + 40, &starts, NOW_NS / 1000 + flush as i64);
    let column = |field: &Arc<arrow::datatypes::Field>| {
        let of = if part::Level::ALL.iter().any(|at| at.column() == field.name()) { &attributes } else { &batch };
        of.column_by_name(field.name()).unwrap().clone()
    };
    let columns = batch.schema_ref().fields().iter().map(column).collect();
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

async fn filled(bed: &mut Bed, flushes: u64, rows: usize) -> Vec<RecordBatch> {
    let sent: Vec<_> = (0..flushes).map(|flush| alike(flush, rows)).collect();
    for batch in &sent {
        bed.flush(vec![batch.clone()], hour_number(), false).await;
    }
    sent
}

async fn opened(bed: &Bed) -> Vec<Opened> {
    let mut all = Vec::new();
    for entry in bed.parts() {
        all.push(Opened::open(bed.view().objects.clone(), &entry).await.unwrap());
    }
    all
}

async fn sorts(bed: &Bed) -> Vec<&'static str> {
    opened(bed).await.iter().map(Opened::sort).collect()
}

async fn deep_problems(bed: &Bed) -> Vec<part::Problem> {
    let mut problems = Vec::new();
    for entry in bed.parts() {
        problems.extend(part::check(bed.upkeep.shelf.objects().as_ref(), &entry, part::Depth::Deep).await);
    }
    problems
}

#[tokio::test]
async fn full_row_groups_of_few_services_are_taken_over_and_their_rows_find_parents_elsewhere() {
    let mut bed = Bed::with(256 << 20, 700).await;
    let sent = filled(&mut bed, 4, 600).await;
    let groups = |bed: &Bed| bed.parts().iter().flat_map(|part| part.row_groups.clone()).collect::<Vec<_>>();
    let before = groups(&bed);
    assert_eq!(before.len(), 4);
    bed.hour_ends();
    bed.step().await;
    assert_eq!((bed.levels(), sorts(&bed).await), (vec![1], vec![SORTED_GROUPS]));
    assert_eq!(groups(&bed).len(), 4, "no row was written again");
    let rows = rows_of(&bed.view()).await;
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
    merge::check_parents(&rows);
    for part in opened(&bed).await {
        for group in 0..part.entry.row_groups.len() {
            let mut stream = part.rows(vec![group], None, 8192).unwrap();
            merge::check_order(&[vec![stream.next().await.unwrap().unwrap()]]);
        }
    }
    assert_eq!(deep_problems(&bed).await, []);
    assert_eq!(bed.upkeep.metrics.duplicates.with_label_values(&["row"]).get(), 0);
}

#[tokio::test]
async fn the_few_rows_that_promote_other_keys_are_written_anew_behind_the_others() {
    let mut bed = Bed::with(256 << 20, 700).await;
    let mut sent = filled(&mut bed, 3, 600).await;
    let starts = within_hour(90, HOUR_START_NS, 300);
    let other = samples::varied(90, &starts, NOW_NS / 1000 + 90);
    sent.push(other.clone());
    bed.flush(vec![other], hour_number(), false).await;
    let promoted: Vec<Promotion> = opened(&bed).await.iter().map(|part| part.promotion().clone()).collect();
    assert!(promoted[0].is_same(&promoted[2]) && !promoted[0].is_same(&promoted[3]));
    bed.hour_ends();
    bed.step().await;
    assert_eq!((bed.levels(), sorts(&bed).await), (vec![1], vec![SORTED_GROUPS]));
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
    merge::check_parents(&rows_of(&bed.view()).await);
    assert_eq!(deep_problems(&bed).await, []);
}

#[tokio::test]
async fn rows_that_lie_as_they_arrived_are_sorted() {
    let mut bed = Bed::with(256 << 20, 700).await;
    let mut sent = filled(&mut bed, 3, 600).await;
    let batch = samples::varied(70, &within_hour(70, HOUR_START_NS, 600), NOW_NS / 1000 + 70);
    sent.push(batch.clone());
    let shelf = &bed.upkeep.shelf;
    let source = part::Source::Log(part::WalRange {
        node: ulid::Ulid::from_parts(1, 1),
        epoch: 1,
        from: 9,
        to: 9,
        index: 0,
        of: 1,
    });
    let (ulid, hour) = (bed.clock.ulid(), HOUR.to_owned());
    let spec = part::PartSpec { ulid, level: 0, hour, stray: false, sort: part::ARRIVAL, source };
    let old = part::encode(&[batch], &spec, shelf.config()).unwrap();
    part::put(shelf.objects().as_ref(), &old).await.unwrap();
    shelf.part_store().register(&old.entry);
    shelf.commit_flush(vec![old.entry], 9, |shown| bed.upkeep.publish(shown)).await.unwrap();
    bed.hour_ends();
    bed.step().await;
    assert_eq!((bed.levels(), sorts(&bed).await), (vec![1], vec![SORTED]));
    merge::check_order(&[rows_of(&bed.view()).await]);
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
}

#[tokio::test]
async fn parts_that_all_promote_other_keys_are_sorted() {
    let mut bed = Bed::with(256 << 20, 700).await;
    let mut sent = Vec::new();
    for flush in 0..4 {
        let starts = within_hour(flush + 60, HOUR_START_NS, 600);
        let batch = samples::varied(flush + 60, &starts, NOW_NS / 1000 + flush as i64);
        sent.push(batch.clone());
        bed.flush(vec![batch], hour_number(), false).await;
    }
    bed.hour_ends();
    bed.step().await;
    assert_eq!((bed.levels(), sorts(&bed).await), (vec![1], vec![SORTED]));
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
}

#[tokio::test]
async fn what_the_footer_says_of_keys_is_what_it_says_when_the_rows_are_written_anew() {
    let mut bed = Bed::with(256 << 20, 300).await;
    filled(&mut bed, 3, 600).await;
    bed.hour_ends();
    bed.step().await;
    assert_eq!(sorts(&bed).await, [SORTED_GROUPS]);
    let spliced = opened(&bed).await.remove(0);
    let mut anew = part::Writer::try_new(spliced.promotion().clone(), &Config::at("unused")).unwrap();
    for group in 0..spliced.entry.row_groups.len() {
        let mut stream = spliced.rows(vec![group], None, 8192).unwrap();
        anew.write(&stream.next().await.unwrap().unwrap()).unwrap();
    }
    assert_eq!(anew.totals(), spliced.totals);
    let source = part::Source::Parts(part::Inputs { ulids: Vec::new(), lsn: [0, 0], index: 0, of: 1 });
    let (ulid, hour) = (bed.clock.ulid(), HOUR.to_owned());
    let spec = part::PartSpec { ulid, level: 1, hour, stray: false, sort: SORTED_GROUPS, source };
    let anew = anew.finish(&spec).unwrap();
    let objects: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    part::put(objects.as_ref(), &anew).await.unwrap();
    let reads = PartStore::new(objects);
    reads.register(&anew.entry);
    let anew = Opened::open(Arc::new(reads), &anew.entry).await.unwrap();
    for level in part::Level::ALL {
        assert_eq!(anew.keys.level(level).len(), spliced.keys.level(level).len());
        for wanted in anew.keys.level(level) {
            let found = spliced.keys.get(level, &wanted.key).unwrap();
            let counts = |entry: &part::KeyEntry| (entry.promoted, entry.present, entry.residual, entry.mask);
            assert_eq!(counts(found), counts(wanted), "{}", wanted.key);
            for group in 0..spliced.entry.row_groups.len() {
                let may = [found, wanted].map(|entry| entry.may_be_residual_in(group));
                assert!(may[0] || !may[1], "{} in row group {group}", wanted.key);
            }
        }
    }
}

#[tokio::test]
async fn rows_that_repeat_are_written_anew_and_kept_once() {
    let mut bed = Bed::with(256 << 20, 700).await;
    let sent = filled(&mut bed, 3, 600).await;
    let again = sent[1].slice(599, 1);
    bed.flush(vec![again], hour_number(), false).await;
    bed.hour_ends();
    bed.step().await;
    assert_eq!((bed.levels(), sorts(&bed).await), (vec![1], vec![SORTED]));
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
    assert_eq!(bed.upkeep.metrics.duplicates.with_label_values(&["row"]).get(), 1);
}

#[tokio::test]
async fn small_row_groups_are_written_anew() {
    let mut bed = Bed::new().await;
    let sent = filled(&mut bed, 5, 90).await;
    bed.hour_ends();
    bed.step().await;
    assert_eq!((bed.levels(), sorts(&bed).await), (vec![1], vec![SORTED]));
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
}

#[tokio::test]
async fn hashes_that_do_not_fit_are_compared_in_several_passes() {
    let mut bed = Bed::with(256 << 20, 700).await;
    filled(&mut bed, 4, 600).await;
    let again = samples::varied(41, &within_hour(41, HOUR_START_NS, 600), NOW_NS / 1000 + 99).slice(7, 1);
    let stopped = || false;
    for (share, is_repeated) in [(32 << 10, false), (256 << 20, false), (32 << 10, true), (256 << 20, true)] {
        if is_repeated && bed.parts().len() == 4 {
            bed.flush(vec![again.clone()], hour_number(), false).await;
        }
        let inputs = opened(&bed).await;
        let room = Room { share, ..room(&bed.upkeep, &stopped) };
        let wanted = super::super::splice::look_through(&inputs, &room).await.unwrap();
        assert_eq!(wanted.is_none(), is_repeated, "{share} bytes");
    }
}

#[tokio::test]
async fn cut_lists_of_keys_and_other_settings_are_not_taken_over() {
    let mut bed = Bed::with(256 << 20, 700).await;
    filled(&mut bed, 3, 600).await;
    let mut inputs = opened(&bed).await;
    let stopped = || false;
    let is_taken_over = |inputs: &[Opened], config: &Config| {
        super::super::splice::lots(inputs, &Room { config, ..room(&bed.upkeep, &stopped) }).is_some()
    };
    let config = bed.upkeep.shelf.config();
    assert!(is_taken_over(&inputs, config));
    // At every level that has it: the settings are about names.
    let of = |is_promoted: bool| {
        let is_so = |level: &part::Level, key: &str| {
            inputs[0].keys.get(*level, key).is_none_or(|entry| entry.promoted.is_some() == is_promoted)
        };
        let mut keys = inputs[0].keys.attr.iter().map(|entry| entry.key.clone());
        keys.find(|key| part::Level::ALL.iter().all(|level| is_so(level, key))).expect("there are keys of both kinds")
    };
    let (column, listed) = (vec![of(true)], vec![of(false)]);
    assert!(!is_taken_over(&inputs, &Config { promote_never: column.clone(), ..config.clone() }));
    assert!(is_taken_over(&inputs, &Config { promote_never: listed, ..config.clone() }));
    assert!(is_taken_over(&inputs, &Config { promote_always: column.clone(), ..config.clone() }));
    let keys = &mut inputs[0].keys.attr;
    let like = keys.iter().find(|entry| entry.key == column[0]).unwrap().clone();
    for (key, of) in [("only texts", attr_type::STRING), ("only arrays", attr_type::ARRAY)] {
        let entry =
            KeyEntry { key: key.to_owned(), promoted: None, residual: like.present, mask: 1 << of, ..like.clone() };
        keys.push(entry);
    }
    let always = |key: &str| Config { promote_always: vec![key.to_owned()], ..config.clone() };
    assert!(!is_taken_over(&inputs, &always("only texts")));
    assert!(is_taken_over(&inputs, &always("only arrays")), "they never have a column");
    inputs[1].keys.complete = false;
    assert!(!is_taken_over(&inputs, config), "what it does not list, another one may");
}

#[tokio::test]
async fn bytes_that_decayed_after_they_were_read_are_not_taken_over() {
    let mut bed = Bed::with(256 << 20, 700).await;
    filled(&mut bed, 1, 600).await;
    let part = opened(&bed).await.remove(0);
    let mut stream = part.rows(vec![0], None, 8192).unwrap();
    while stream.next().await.unwrap().is_some() {}
    assert!(part.whole().await.is_ok());
    let objects = bed.upkeep.shelf.objects();
    let path = object_store::path::Path::from(part.entry.path.as_str());
    let mut bytes = objects.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[100] ^= 1;
    std::fs::write(bed.folder.root.join(&part.entry.path), bytes).unwrap();
    let error = part.whole().await.unwrap_err().to_string();
    assert!(error.contains(&part.entry.path), "{error}");
}

#[tokio::test]
async fn an_input_of_which_only_the_hash_of_the_file_tells_damage_is_judged() {
    let mut bed = Bed::with(256 << 20, 700).await;
    filled(&mut bed, 2, 600).await;
    let (upkeep, lsn) = (&bed.upkeep, bed.lsn + 1);
    let set = Set { hour: hour_number(), stray: false, batches: vec![alike(2, 600)] };
    let written = upkeep.shelf.put(&set, lsn, lsn, 0, 1).await.unwrap();
    let entry = PartEntry { file_xxh3: "0123456789abcdef".to_owned(), ..written };
    let path = entry.path.clone();
    upkeep.shelf.commit_flush(vec![entry], lsn, |shown| upkeep.publish(shown)).await.unwrap();
    bed.hour_ends();
    bed.step().await;
    assert_eq!(bed.levels(), [0; 3]);
    upkeep.quarantine_suspects().await.unwrap();
    let left = bed.parts();
    assert!(left.iter().all(|part| part.path != path), "{path} is not among the live parts any more");
    assert_eq!(left.iter().map(|part| part.rows).sum::<u64>(), 1800, "its rows could be read");
}

#[tokio::test]
async fn a_put_that_fails_keeps_what_was_to_be_taken_over() {
    let mut bed = Bed::with(256 << 20, 700).await;
    filled(&mut bed, 3, 600).await;
    let rows = texts(&bed.view()).await;
    bed.hour_ends();
    for op in [Op::Create, Op::Link] {
        bed.faults.arm(op, 0, 1, 5);
        bed.step().await;
        bed.faults.disarm();
        assert_eq!((bed.levels(), bed.files()), (vec![0; 3], 3), "{op:?}");
        bed.clock.advance(Duration::from_secs(700));
    }
    bed.step().await;
    assert_eq!((bed.levels(), sorts(&bed).await), (vec![1], vec![SORTED_GROUPS]));
    assert_eq!(texts(&bed.view()).await, rows);
}
