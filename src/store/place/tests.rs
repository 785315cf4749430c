//! Addresses and options, the probe, and which place a data folder belongs to.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, Error as ObjectError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::sick::Sick;
use super::*;
use crate::disk::Op;
use crate::disk::faults::Faults;
use crate::yaml::{Mark, Problems, Section, parse};

fn read(text: &str) -> (Place, Vec<String>) {
    let tree = parse(text, &Mark::of_source(0, "c.yaml")).unwrap();
    let problems = Problems::new();
    let root = Section::root(&tree, &problems);
    let place = Place::read(&root);
    drop(root);
    let told = problems.into_sorted();
    let text =
        |p: &crate::yaml::Problem| format!("{} {}: {} {}", p.mark, p.path, p.text, p.help.as_deref().unwrap_or(""));
    (place, told.iter().map(|p| text(p).trim_end().to_owned()).collect())
}

#[test]
fn an_address_names_a_folder_or_a_bucket_and_its_options_are_those_of_the_client() {
    for (text, url) in [
        ("object_store: {}", None),
        ("object_store: {url: 'file:///var/parts'}", Some("file:///var/parts")),
        ("object_store: {url: 's3://spans'}", Some("s3://spans")),
        ("object_store: {url: 's3://spans/a/b/'}", Some("s3://spans/a/b")),
        ("object_store: {url: 's3://spans', options: {region: eu-central-1, timeout: 5s}}", Some("s3://spans")),
        (
            "object_store: {url: 's3://spans', options: {endpoint: 'http://localhost:9000', allow_http: true, \
             virtual_hosted_style_request: false, access_key_id: 7, aws_secret_access_key: geheim}}",
            Some("s3://spans"),
        ),
    ] {
        let (place, problems) = read(text);
        assert_eq!((place.url().as_deref(), problems), (url, Vec::new()), "{text}");
        assert!(!format!("{place:?}").contains("geheim"), "{place:?}");
    }
}

#[test]
fn what_is_wrong_is_told_at_its_place_and_no_secret_with_it() {
    let form = "write `s3://BUCKET/PREFIX`, or `file:///FOLDER`";
    for (text, want) in [
        ("object_store: {url: 'gs://spans'}", format!("c.yaml:1:21 object_store::url: must begin with `s3://` or `file:///` {form}")),
        ("object_store: {url: 'file://parts'}", format!("c.yaml:1:21 object_store::url: a folder's address begins with `file:///` {form}")),
        ("object_store: {url: 's3:///a'}", format!("c.yaml:1:21 object_store::url: names no bucket {form}")),
        (
            "object_store: {url: 's3://key:geheim@spans'}",
            format!(
                "c.yaml:1:21 object_store::url: a bucket's name has letters, digits, `-`, `.` and `_` only; keys and \
                 endpoint belong into `options` {form}"
            ),
        ),
        (
            "object_store:\n  options: {region: x}",
            "c.yaml:2:12 object_store::options: mean nothing without `url` write `url: s3://BUCKET/PREFIX`".to_owned(),
        ),
        (
            "object_store:\n  url: s3://spans\n  options:\n    acces_key_id: geheim",
            "c.yaml:4:5 object_store::options::acces_key_id: is no option of an S3 bucket did you mean \
             \"access_key_id\"?"
                .to_owned(),
        ),
        (
            "object_store:\n  url: s3://spans\n  options:\n    bucket: other",
            "c.yaml:4:13 object_store::options::bucket: cannot be set: the bucket stands in `url`".to_owned(),
        ),
        (
            "object_store:\n  url: s3://spans\n  options:\n    timeout: geheim",
            "c.yaml:4:14 object_store::options::timeout: the value is not of the kind this option takes".to_owned(),
        ),
        (
            "object_store:\n  url: s3://spans\n  options:\n    access_key_id: geheim",
            "c.yaml:4:5 object_store::options: `access_key_id` is nothing without `secret_access_key`".to_owned(),
        ),
        (
            "object_store:\n  url: s3://spans\n  options:\n    region: [geheim]",
            "c.yaml:4:13 object_store::options::region: expected string, got list".to_owned(),
        ),
        (
            "object_store:\n  url: s3://spans\n  options:\n    endpoint: http://localhost:9000",
            "c.yaml:4:15 object_store::options::endpoint: `http://` needs `allow_http`: keys and spans would go over the \
             wire as they are use `https://`, or set `allow_http: true` where the network is trusted"
                .to_owned(),
        ),
        ("object_store: {uri: x}", "c.yaml:1:16 object_store: has invalid keys: uri did you mean \"url\"?".to_owned()),
    ] {
        let (_, problems) = read(text);
        assert_eq!(problems, [want], "{text}");
        assert!(!problems[0].contains("geheim"));
    }
}

#[test]
fn keys_of_the_environment_count_where_the_configuration_has_none() {
    let of = |text: &str| {
        let (mut place, _) = read(text);
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        place.fill(&[
            variable("AWS_ACCESS_KEY_ID", "id"),
            variable("AWS_SECRET_ACCESS_KEY", "secret"),
            variable("AWS_REGION", "eu-west-1"),
            variable("AWS_ENDPOINT_URL", "http://elsewhere"),
            variable("AWS_PAGER", ""),
        ]);
        let Place::Bucket(bucket) = place else { panic!("a bucket") };
        use AmazonS3ConfigKey as Key;
        let option = |key: Key| bucket.option(&key).map(str::to_owned);
        (option(Key::AccessKeyId), option(Key::SecretAccessKey), option(Key::Region), option(Key::Endpoint))
    };
    let some = |text: &str| Some(text.to_owned());
    let all = of("object_store: {url: 's3://spans'}");
    assert_eq!(all, (some("id"), some("secret"), some("eu-west-1"), None));
    let own = of("object_store: {url: 's3://spans', options: {access_key_id: a, secret_access_key: b, region: r}}");
    assert_eq!(own, (some("a"), some("b"), some("r"), None));
}

/// A server that takes `If-None-Match: *` too lightly.
#[derive(Debug, Default)]
struct Careless {
    objects: InMemory,
    /// It looks whether the name is there, and then puts; else it does not look.
    looks: bool,
}

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Careless")
    }
}

#[async_trait]
impl ObjectStore for Careless {
    async fn put_opts(&self, at: &Path, payload: PutPayload, _: PutOptions) -> object_store::Result<PutResult> {
        if self.looks {
            if self.objects.head(at).await.is_ok() {
                return Err(ObjectError::AlreadyExists { path: at.to_string(), source: "412".into() });
            }
            tokio::task::yield_now().await;
        }
        self.objects.put_opts(at, payload, PutMode::Overwrite.into()).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.objects.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn the_probe_refuses_a_server_that_replaces_and_one_that_lets_several_creators_win() {
    let clock = Clock::manual(1_000_000_000_000, 1);
    for (looks, want) in [(false, "ignores `If-None-Match: *`"), (true, "more than one succeeded")] {
        let server = Careless { looks, ..Careless::default() };
        match probe::run(&server, &clock).await {
            Err(probe::Error::Unfit(why)) => assert!(why.contains(want) && why.contains("; use "), "{why}"),
            other => panic!("{want}: {other:?}"),
        }
        assert_eq!(server.list(None).count().await, 0, "nothing is left behind");
    }
}

#[tokio::test]
async fn the_probe_takes_a_good_server_and_does_not_mistake_a_sick_one_for_a_careless_one() {
    let clock = Clock::manual(1_000_000_000_000, 1);
    probe::run(&InMemory::new(), &clock).await.unwrap();
    let (mut passed, mut failed) = (0, 0);
    for seed in 0..100 {
        match probe::run(&Sick::new(seed, 20), &clock).await {
            Ok(()) => passed += 1,
            Err(probe::Error::Objects(_)) => failed += 1,
            // Its put was lost on the way, so it is not there; it never was.
            Err(probe::Error::Unfit(why)) => panic!("seed {seed}: {why}"),
        }
    }
    assert!(passed > 0 && failed > 0, "{passed} passed, {failed} failed");
}

#[tokio::test]
async fn a_data_folder_is_not_opened_with_another_place_than_that_of_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000_000_000_000, 1);
    let data = tempfile::tempdir().unwrap();
    let folder = Folder::open(&Disk::Os, data.path(), &clock).unwrap();
    let open = |place: &Place| Objects::open(place, &folder, &Disk::Os, &clock);
    let (a, b) = (Place::File(dir.path().join("a")), Place::File(dir.path().join("b")));
    for place in [&Place::Folder, &a, &b] {
        open(place).unwrap();
    }
    open(&a).unwrap().prepare(&clock).await.unwrap();
    open(&a).unwrap();
    for place in [&Place::Folder, &b] {
        let error = open(place).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Place { .. }), "{text}");
        assert!(text.starts_with(&a.url().unwrap()) && text.contains("storage.object_store.url"), "{text}");
    }
    std::fs::remove_file(folder.objects_file()).unwrap();
    std::fs::create_dir(folder.root.join("manifest")).unwrap();
    open(&b).unwrap();
    std::fs::write(folder.root.join("manifest/00000000000000000001.json"), b"{}").unwrap();
    let text = open(&b).unwrap_err().to_string();
    assert!(text.contains("has parts of its own") && text.contains("move these four away"), "{text}");
    open(&Place::Folder).unwrap();
}

/// A data folder whose parts are in `bucket`, as one that claims them or as a copy of it.
fn folder_at(dir: &std::path::Path, bucket: &Arc<InMemory>, clock: &Clock) -> Objects {
    folder_on(dir, &Disk::Os, bucket.clone(), clock)
}

fn folder_on(dir: &std::path::Path, disk: &Disk, bucket: Arc<dyn ObjectStore>, clock: &Clock) -> Objects {
    let folder = Folder::open(disk, dir, clock).unwrap();
    Objects::open(&Place::Given(bucket), &folder, disk, clock).unwrap()
}

fn copied(from: &std::path::Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for name in ["VERSION", "node.id", "epoch"] {
        std::fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    to
}

async fn manifest_of(place: &Objects) -> Manifest {
    Manifest::load(place.store().clone()).await.unwrap()
}

#[tokio::test]
async fn of_two_copies_of_a_data_folder_that_claim_at_once_the_later_one_stays_refused() {
    let clock = Clock::manual(1_000_000_000_000, 1);
    for claims_before in 0..3 {
        let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bucket = Arc::new(InMemory::new());
        let first = folder_at(dir.path(), &bucket, &clock);
        for _ in 0..claims_before {
            first.claim(&mut manifest_of(&first).await, &clock).await.unwrap();
        }
        for name in ["VERSION", "node.id", "epoch"] {
            let copy = std::fs::copy(dir.path().join(name), copied.path().join(name));
            assert!(copy.is_ok() || (name, claims_before) == ("epoch", 0), "{name}: {copy:?}");
        }
        let second = folder_at(copied.path(), &bucket, &clock);
        let (mut ours, mut theirs) = (manifest_of(&first).await, manifest_of(&second).await);
        first.claim(&mut ours, &clock).await.unwrap();
        let late = second.claim(&mut theirs, &clock).await.unwrap_err();
        assert!(matches!(late, Error::Superseded { .. }), "{claims_before}: {late}");
        for _ in 0..2 {
            let refused = second.claim(&mut manifest_of(&second).await, &clock).await.unwrap_err();
            assert!(
                matches!(&refused, Error::Folder { detail, .. } if detail.contains("a copy of it")),
                "{claims_before}: {refused}"
            );
        }
        first.claim(&mut manifest_of(&first).await, &clock).await.unwrap();
    }
}

#[tokio::test]
async fn a_claim_that_met_the_last_commit_of_the_process_before_succeeds_at_the_next_try() {
    let clock = Clock::manual(1_000_000_000_000, 1);
    let (dir, bucket) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let place = folder_at(dir.path(), &bucket, &clock);
    let mut killed = manifest_of(&place).await;
    place.claim(&mut killed, &clock).await.unwrap();
    let mut started = manifest_of(&place).await;
    killed.commit(manifest::Delta::default(), &clock).await.unwrap();
    let late = place.claim(&mut started, &clock).await.unwrap_err();
    assert!(matches!(late, Error::Superseded { .. }), "{late}");
    let mut again = manifest_of(&place).await;
    place.claim(&mut again, &clock).await.unwrap();
    assert_eq!(again.epoch(), 2);
}

/// A folder that has claimed once; the second claim was cut off before its put, or behind it. With it what a copy of the
/// folder is that was made before, and one that was made after.
async fn cut_off(put: bool, clock: &Clock) -> (tempfile::TempDir, Sick, [tempfile::TempDir; 2]) {
    let (dir, bucket, faults) = (tempfile::tempdir().unwrap(), Sick::new(1, 0), Faults::default());
    let place = folder_on(dir.path(), &Disk::Faulty(faults.clone()), Arc::new(bucket.clone()), clock);
    place.claim(&mut manifest_of(&place).await, clock).await.unwrap();
    let before = copied(dir.path());
    let mut manifest = manifest_of(&place).await;
    match put {
        // Of the note that it succeeded.
        true => faults.arm(Op::Rename, 1, 1, 5),
        false => bucket.die(),
    }
    place.claim(&mut manifest, clock).await.unwrap_err();
    bucket.heal();
    let after = copied(dir.path());
    assert_eq!(manifest_of(&place).await.epoch(), 1 + u64::from(put));
    (dir, bucket, [before, after])
}

#[tokio::test]
async fn a_claim_that_is_cut_off_at_any_moment_does_not_keep_the_folder_from_the_next_one() {
    let clock = Clock::manual(1_000_000_000_000, 1);
    for put in [false, true] {
        let (dir, bucket, _) = cut_off(put, &clock).await;
        let place = folder_on(dir.path(), &Disk::Os, Arc::new(bucket), &clock);
        for more in 1..3 {
            let mut manifest = manifest_of(&place).await;
            place.claim(&mut manifest, &clock).await.unwrap();
            assert_eq!(manifest.epoch(), 1 + u64::from(put) + more);
        }
    }
}

#[tokio::test]
async fn a_copy_that_claims_behind_a_claim_that_was_cut_off_is_known_for_one() {
    let clock = Clock::manual(1_000_000_000_000, 1);
    // One that was made before the put came through is behind it itself.
    for (put, which) in [(false, 0), (false, 1), (true, 1)] {
        let (dir, bucket, copies) = cut_off(put, &clock).await;
        let copy = folder_on(copies[which].path(), &Disk::Os, Arc::new(bucket.clone()), &clock);
        copy.claim(&mut manifest_of(&copy).await, &clock).await.unwrap();
        let place = folder_on(dir.path(), &Disk::Os, Arc::new(bucket), &clock);
        for _ in 0..2 {
            let refused = place.claim(&mut manifest_of(&place).await, &clock).await.unwrap_err();
            assert!(
                matches!(&refused, Error::Folder { detail, .. } if detail.contains("a copy of it")),
                "{put} {which}: {refused}"
            );
        }
        copy.claim(&mut manifest_of(&copy).await, &clock).await.unwrap();
    }
    let (_dir, bucket, [before, _after]) = cut_off(true, &clock).await;
    let late = folder_on(before.path(), &Disk::Os, Arc::new(bucket), &clock);
    let refused = late.claim(&mut manifest_of(&late).await, &clock).await.unwrap_err();
    assert!(matches!(&refused, Error::Folder { .. }), "{refused}");
}
