//! The simulated disk against what a machine promises: what was synced is there after a cut, and nothing else for sure.

use super::*;
use crate::disk::Disk;

fn disk(seed: u64) -> (Sim, Disk) {
    let sim = Sim::new(seed);
    (sim.clone(), Disk::Sim(sim))
}

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn put(disk: &Disk, at: &str, bytes: &[u8]) -> File {
    let file = disk.create_new(path(at)).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// What is left of the file `at` after crashes of all these seeds.
fn left(sim: &Sim, at: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..64).map(|seed| sim.crash(seed).image().remove(path(at))).collect()
}

#[test]
fn bytes_are_durable_by_a_sync_of_the_file_and_names_by_a_sync_of_the_directory() {
    let (sim, disk) = disk(1);
    disk.create_dir_all(path("/a")).unwrap();
    let file = put(&disk, "/a/f", b"one");
    file.sync_data().unwrap();
    disk.sync_dir(path("/a")).unwrap();
    assert_eq!(left(&sim, "/a/f"), BTreeSet::from([None, Some(b"one".to_vec())]), "nobody synced the folder's name");

    let (sim, disk) = self::disk(1);
    disk.create_dir_all(path("/a")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    put(&disk, "/a/f", b"one");
    disk.sync_dir(path("/a")).unwrap();
    let of = left(&sim, "/a/f");
    assert!(of.contains(&Some(Vec::new())) && of.contains(&Some(b"one".to_vec())) && !of.contains(&None), "{of:?}");
}

#[test]
fn what_was_synced_outlives_every_crash_and_what_was_not_is_old_or_new_by_the_block() {
    let (sim, disk) = disk(1);
    let file = put(&disk, "/f", &[1; 8192]);
    file.sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(left(&sim, "/f").len(), 1);

    let (sim, disk) = self::disk(1);
    let file = put(&disk, "/f", &[1; 8192]);
    file.sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    file.write_all_at(&[2; 8192], 0).unwrap();
    let mut torn = 0;
    for bytes in left(&sim, "/f") {
        let bytes = bytes.unwrap();
        let sectors: Vec<u8> = bytes.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|b| *b == sector[0])), "{sectors:?}");
        torn += usize::from(sectors.contains(&1) && sectors.contains(&2));
    }
    assert!(torn > 8, "{torn}");
}

#[test]
fn a_rename_happened_or_it_did_not() {
    let (sim, disk) = disk(1);
    put(&disk, "/old", b"x").sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    disk.rename(path("/old"), path("/new")).unwrap();
    let found: BTreeSet<Vec<PathBuf>> = (0..64).map(|seed| sim.crash(seed).image().into_keys().collect()).collect();
    assert_eq!(found, BTreeSet::from([vec!["/old".into()], vec!["/new".into()]]));
}

#[test]
fn the_same_operations_and_seeds_leave_the_same_bytes() {
    let run = |seed: u64| {
        let (sim, disk) = disk(seed);
        for n in 0..10 {
            let file = put(&disk, &format!("/{n}"), &vec![n; 4000]);
            if n == 4 {
                sim.faults().arm(Op::Write, 0, 1, 28);
            }
            let _ = file.write_all_at(&vec![n + 100; 3000], 2000);
            if n % 3 == 0 {
                disk.rename(path(&format!("/{n}")), path(&format!("/r{n}"))).unwrap();
            }
        }
        sim.crash(seed).image()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn after_a_failed_sync_the_pages_look_written_a_second_sync_is_a_lie_and_is_noted() {
    let (sim, disk) = disk(3);
    let file = put(&disk, "/f", &[7; 65536]);
    disk.sync_dir(path("/")).unwrap();
    sim.faults().arm(Op::Sync, 0, 1, EIO);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(EIO));
    assert!(sim.distrusted().is_empty());
    file.sync_data().unwrap();
    assert_eq!(sim.distrusted(), [path("/f")]);
    assert_eq!(disk.read(path("/f")).unwrap(), [7; 65536]);
    let after = sim.crash(1).image().remove(path("/f")).unwrap();
    assert!(after.contains(&0) && after.contains(&7), "some pages were dropped");
}

#[test]
fn a_failed_write_is_short_and_the_power_goes_off_before_or_after_the_operation_that_was_named() {
    let (sim, disk) = disk(5);
    let file = put(&disk, "/f", b"");
    sim.faults().arm(Op::Write, 0, 1, 28);
    assert_eq!(file.write_all_at(&[1; 1000], 0).unwrap_err().raw_os_error(), Some(28));
    assert!((1..1000).contains(&file.len().unwrap()), "{:?}", file.len());

    for (fate, there) in [(Fate::OffBefore, false), (Fate::OffAfter, true)] {
        let (sim, disk) = self::disk(5);
        sim.plan(2, fate);
        drop(disk.create_new(path("/a")).unwrap());
        assert!(disk.create_new(path("/b")).is_err() && sim.is_off());
        assert!(disk.read(path("/a")).is_err() && disk.list(path("/")).is_err());
        assert_eq!(sim.killed().image().contains_key(path("/b")), there, "{fate:?}");
    }
}

#[test]
fn a_lock_ends_with_its_file_or_its_process() {
    let (sim, disk) = disk(1);
    let file = disk.open_or_create(path("/LOCK")).unwrap();
    assert!(file.try_lock().unwrap());
    let again = disk.open(path("/LOCK")).unwrap();
    assert!(!again.try_lock().unwrap());
    let next = Disk::Sim(sim.killed());
    assert!(next.open(path("/LOCK")).unwrap().try_lock().unwrap());
    drop(file);
    assert!(again.try_lock().unwrap());
}
