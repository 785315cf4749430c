//! `weavergen generate` as a process: what it writes, prints, and ends with.

use std::path::Path;
use std::process::{Command, Output};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn generate(dir: &Path, args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_weavergen")).current_dir(dir).arg("generate").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

#[test]
fn shipped_registries_become_rust_that_compiles_and_a_second_run_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for registry in ["builtin:shop", "builtin:weavergen"] {
        let args = ["rust", "out", "--registry", registry];
        let check = generate(dir.path(), &[&args[..], &["--check"]].concat());
        assert_eq!(check.code, 1, "{}", check.err);
        assert!(check.out.contains("+++ b/attributes.rs"), "{}", check.out);
        let first = generate(dir.path(), &args);
        assert_eq!((first.code, first.out.as_str()), (0, ""), "{}", first.err);
        assert!(first.err.contains("2 files changed"), "{}", first.err);
        let read = |name: &str| std::fs::read_to_string(dir.path().join("out").join(name)).unwrap();
        let before = (read("attributes.rs"), read("spans.rs"));
        let second = generate(dir.path(), &args);
        assert!(second.err.contains("0 files changed"), "{}", second.err);
        assert_eq!((read("attributes.rs"), read("spans.rs")), before);
        assert_eq!(generate(dir.path(), &[&args[..], &["--check"]].concat()).code, 0);
        for file in ["attributes.rs", "spans.rs"] {
            let args =
                ["--crate-type", "lib", "--emit", "metadata", "-D", "warnings", "--out-dir", ".", "--edition", "2024"];
            let built = Command::new("rustc").current_dir(dir.path()).args(args).arg(format!("out/{file}")).output();
            let Ok(built) = built else { panic!("rustc built this test and is not in PATH") };
            assert!(built.status.success(), "{file}: {}", String::from_utf8_lossy(&built.stderr));
        }
    }
}

#[test]
fn every_failure_has_its_exit_code_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("templates/registry/bad");
    std::fs::create_dir_all(&bad).unwrap();
    std::fs::write(bad.join("weaver.yaml"), "templates: [{template: '*.j2', application_mode: single}]").unwrap();
    std::fs::write(bad.join("a.j2"), "{{ 1 | nope }}").unwrap();
    let good = ["rust", "out", "--registry", "builtin:shop"];
    for (args, code, want) in [
        (vec!["rust", "out"], 2, "--registry"),
        (vec!["none", "out", "--registry", "builtin:shop"], 78, "WG-GEN-002"),
        (vec!["../x", "out", "--registry", "builtin:shop"], 2, "no folder name"),
        (vec!["rust", "out", "--registry", "builtin:none"], 78, "no registry `none`"),
        (vec!["rust", "out", "--registry", "nowhere"], 74, "cannot read the registry"),
        (
            vec!["bad", "out", "--registry", "builtin:shop", "--templates", "templates"],
            78,
            "WG-GEN-012 templates/registry/bad/a.j2:1:8: filter \"nope\"",
        ),
        ([&good[..], &["-D", "x"]].concat(), 2, "there is no `=`"),
        ([&good[..], &["--engine", "weaver"]].concat(), 69, "WG-GEN-040"),
        ([&good[..], &["--params", "nowhere"]].concat(), 74, "cannot read nowhere"),
    ] {
        let ran = generate(dir.path(), &args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(want), "{args:?}: {}", ran.err);
        assert!(!dir.path().join("out/attributes.rs").exists());
    }
}

#[test]
fn a_file_edited_by_hand_stays_until_overwrite() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["rust", "out", "--registry", "builtin:shop"];
    assert_eq!(generate(dir.path(), &args).code, 0);
    let file = dir.path().join("out/spans.rs");
    std::fs::write(&file, "// mine\n").unwrap();
    let refused = generate(dir.path(), &args);
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(
        refused.err.contains("WG-GEN-031") && refused.out.contains("+// mine") && refused.out.contains("-// mine"),
        "{}",
        refused.out
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "// mine\n");
    assert_eq!(generate(dir.path(), &[&args[..], &["--overwrite"]].concat()).code, 0);
    assert_ne!(std::fs::read_to_string(&file).unwrap(), "// mine\n");
    // templates of the working folder lie over the compiled-in ones
    let own = dir.path().join("pipelines/templates/registry/rust");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("spans.rs.j2"), "// {{ params.who }}\n").unwrap();
    assert_eq!(generate(dir.path(), &[&args[..], &["-D", "who=me"]].concat()).code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "// me\n");
}
