//! Claims about the pipelines that are kept in force.

use std::sync::Arc;

use bpmn::core::OnUnknown;

use super::super::job::schema::lint_registry;
use super::super::{Config, Jobs};
use super::*;
use crate::clock::Clock;

/// An engine in memory whose jobs never run.
fn engine() -> Engine {
    let jobs = Jobs {
        run: Arc::new(|_, _| Box::pin(std::future::pending())),
        render: Arc::new(|text, _| Ok(text.to_owned())),
        on_unknown: Arc::new(|_, _| OnUnknown::Incident),
        limits: BTreeMap::new(),
    };
    let config = Config { path: None, jobs, registry: lint_registry(Vec::new(), None) };
    Engine::open(config, Clock::manual(1_735_689_600_000_000_000, 1)).unwrap()
}

fn file(process: &str, end: &str) -> String {
    format!(
        r#"<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" targetNamespace="t">
<process id="{process}" isExecutable="true"><startEvent id="start"/><endEvent id="{end}"/>
<sequenceFlow id="f" sourceRef="start" targetRef="end"/></process></definitions>"#
    )
}

struct World {
    dir: tempfile::TempDir,
    library: Library,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(engine(), Some(dir.path().to_path_buf()));
        Self { dir, library }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        std::fs::remove_file(self.dir.path().join(path)).unwrap();
    }

    /// (file below the folder, reason) of what is unhealthy after a look.
    async fn look(&mut self) -> Vec<(String, String)> {
        self.library.refresh().await;
        let unhealthy = self.library.unhealthy().borrow().clone();
        let below = |file: &str| match Path::new(file).strip_prefix(self.dir.path()) {
            Ok(below) => below.display().to_string(),
            Err(_) => file.to_owned(),
        };
        unhealthy.iter().map(|one| (below(&one.file), one.reason.clone())).collect()
    }

    /// The version in force and the highest there is.
    fn version(&self, process: &str) -> Option<(u32, u32)> {
        let view = self.library.engine.store().view().unwrap();
        let view: &dyn bpmn::core::StateView = &view;
        view.definition(process).map(|row| (row.version, row.last_version))
    }
}

#[test]
fn the_compiled_in_list_equals_the_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let found: Vec<(String, Vec<u8>)> = files_below(&root)
        .unwrap()
        .iter()
        .map(|path| (path.strip_prefix(&root).unwrap().display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    let shipped: Vec<(String, Vec<u8>)> =
        SHIPPED.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect();
    assert_eq!(shipped, found, "list every file of pipelines/ in SHIPPED");
}

#[tokio::test]
async fn shipped_files_come_into_force_and_a_second_look_changes_nothing() {
    let mut world = World::new();
    assert_eq!(world.look().await, []);
    assert_eq!(world.version("regenerate"), Some((1, 1)));
    let before = world.library.engine.store().events(0, 1_000).unwrap().len();
    assert_eq!(world.look().await, []);
    assert_eq!(world.library.engine.store().events(0, 1_000).unwrap().len(), before);
}

#[tokio::test]
async fn message_starts_are_those_in_force_and_the_same_without_a_daemon() {
    let mut world = World::new();
    world.write("p.bpmn", &file("p", "end"));
    world.look().await;
    let in_force = world.library.engine.message_starts().unwrap();
    assert_eq!(in_force["p"], Vec::<String>::new(), "a process without one is there");
    assert!(in_force["regenerate"].iter().any(|name| name.starts_with("weavergen.gate")), "{in_force:?}");
    assert_eq!(in_force, message_starts(Some(world.dir.path())));
}

#[tokio::test]
async fn a_file_of_the_same_path_replaces_the_shipped_one_and_its_end_brings_that_back() {
    let mut world = World::new();
    world.look().await;
    world.write("regenerate.bpmn", &file("regenerate", "end"));
    assert_eq!(world.look().await, []);
    assert_eq!(world.version("regenerate"), Some((2, 2)));
    world.remove("regenerate.bpmn");
    assert_eq!(world.look().await, []);
    assert_eq!(world.version("regenerate"), Some((1, 2)), "a hash keeps its number");
}

#[tokio::test]
async fn a_broken_edit_leaves_the_version_in_force_and_is_told_until_it_is_mended() {
    let mut world = World::new();
    world.write("sub/p.bpmn", &file("p", "end"));
    assert_eq!(world.look().await, []);
    world.write("sub/p.bpmn", &file("p", "gone"));
    world.write("q.bpmn", &file("q", "end"));
    for _ in 0..2 {
        let told = world.look().await;
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, "sub/p.bpmn");
        assert!(told[0].1.contains("dangling-ref") && told[0].1.contains("stays in force"), "{}", told[0].1);
    }
    assert_eq!(
        (world.version("p"), world.version("q")),
        (Some((1, 1)), Some((1, 1))),
        "files do not hinder each other"
    );
    world.write("sub/p.bpmn", &file("p", "end").replace("id=\"f\"", "id=\"g\""));
    assert_eq!(world.look().await, []);
    assert_eq!(world.version("p"), Some((2, 2)));
}

#[tokio::test]
async fn of_two_files_with_one_process_id_the_first_counts_until_it_is_gone() {
    let mut world = World::new();
    world.write("a.bpmn", &file("p", "end"));
    world.write("b.bpmn", &file("p", "end").replace("id=\"f\"", "id=\"g\""));
    world.write("c.bpmn", &file("regenerate", "end"));
    for _ in 0..2 {
        let told = world.look().await;
        assert_eq!(told.iter().map(|(file, _)| file.as_str()).collect::<Vec<_>>(), ["b.bpmn", "c.bpmn"]);
        assert!(told[0].1.contains("a.bpmn") && told[1].1.contains("builtin:regenerate.bpmn"), "{told:?}");
        assert_eq!((world.version("p"), world.version("regenerate")), (Some((1, 1)), Some((1, 1))));
    }
    world.remove("a.bpmn");
    world.remove("c.bpmn");
    assert_eq!(world.look().await, []);
    assert_eq!(world.version("p"), Some((2, 2)));
}

#[tokio::test]
async fn a_folder_that_is_gone_is_told_and_what_is_in_force_stays() {
    let mut world = World::new();
    world.write("p.bpmn", &file("p", "end"));
    assert_eq!(world.look().await, []);
    let (from, to) = (world.dir.path().to_path_buf(), world.dir.path().with_extension("away"));
    std::fs::rename(&from, &to).unwrap();
    let told = world.look().await;
    assert_eq!(told.len(), 1);
    assert!(told[0].1.contains("cannot be read"), "{told:?}");
    std::fs::rename(&to, &from).unwrap();
    assert_eq!(world.look().await, []);
    assert_eq!(world.version("p"), Some((1, 1)));
}

#[tokio::test]
async fn a_preview_says_what_the_deploy_then_does() {
    let engine = engine();
    let source = |text: String| vec![SourceFile { name: "p.bpmn".to_owned(), bytes: text.into_bytes() }];
    let first = file("p", "end");
    let moved = first.replace("<process ", "<!-- moved --><process ");
    let changed = first.replace("id=\"f\"", "id=\"g\"");
    for (text, version, outcome) in [
        (first.clone(), 1, "new"),
        (first.clone(), 1, "same"),
        (moved, 2, "layout-only"),
        (changed, 3, "new"),
        (first, 1, "new"),
    ] {
        let would = engine.preview(source(text.clone())).unwrap();
        let bpmn::core::Answer::Deployed(did) = engine.deploy(source(text), None, None).await.unwrap() else {
            panic!("a deploy answers what it deployed")
        };
        assert_eq!(would, did);
        assert_eq!((did[0].version, did[0].outcome.as_str()), (version, outcome));
    }
    assert!(matches!(engine.preview(source("<a>".to_owned())), Err(Error::Refused(_))));
}
