//! The container image's configuration, against the loader.

use std::path::Path;

use weavergen::config::{Environment, Request, load};

use crate::daemon::Daemon;

#[test]
fn the_shipped_configuration_loads_and_listens_where_the_image_exposes() {
    let request = Request { sources: vec!["docker/weavergen.yaml".to_owned()], ..Request::default() };
    let config = load(&request, &Environment::default()).unwrap().config;
    let receiver = &config.receivers[0];
    let endpoints = [
        receiver.grpc.as_ref().unwrap().endpoint.as_str(),
        receiver.http.as_ref().unwrap().endpoint.as_str(),
        &config.web.endpoint,
        config.telemetry.metrics_endpoint.as_deref().unwrap(),
        &config.health[0].endpoint,
    ];
    assert_eq!(endpoints, ["0.0.0.0:4317", "0.0.0.0:4318", "0.0.0.0:8080", "0.0.0.0:8888", "0.0.0.0:13133"]);
    assert!(config.access.tokens_file.is_some_and(|file| file.starts_with(&config.store.path)));

    let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
    let exposed = dockerfile.lines().find_map(|line| line.strip_prefix("EXPOSE ")).unwrap();
    for endpoint in endpoints {
        let port = endpoint.rsplit(':').next().unwrap();
        assert!(exposed.split(' ').any(|exposed| exposed == port), "{port} is not in EXPOSE {exposed}");
    }
    assert!(dockerfile.contains(&format!("VOLUME {}\n", config.store.path.display())));
    // `weavergen health` in the image looks for run.json where the daemon writes it.
    let environment = Environment { xdg_data_home: Some("/var/lib".into()), ..Environment::default() };
    assert!(dockerfile.contains("ENV XDG_DATA_HOME=/var/lib\n"));
    assert_eq!(environment.data_folder(), Path::new(&config.store.path));
}

#[test]
fn the_first_start_makes_the_tokens_file_and_tells_its_token_once() {
    let dir = tempfile::tempdir().unwrap();
    let (data, tokens) = (dir.path().join("data"), dir.path().join("tokens"));
    let setting = format!("--set=access.tokens_file={}", tokens.display());
    for _ in 0..2 {
        assert_eq!(Daemon::start_with(&data, &[&setting]).stop(), 0);
    }
    let made = std::fs::read_to_string(&tokens).unwrap();
    let token = made.lines().find_map(|line| line.strip_suffix(" admin")).unwrap();
    let said = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert_eq!(said.matches(token).count(), 1, "{said}");
    assert!(said.contains(&format!("Authorization: Bearer {token}")) && said.contains("--token-file"), "{said}");
}

/// Every file that the sources of the binary include at compile time, by its path in the repository.
fn compiled_in() -> Vec<std::path::PathBuf> {
    let mut folders = vec![Path::new("src").to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for at in ["include_str!(\"", "include_bytes!(\""] {
                    let names = text.split(at).skip(1).map(|rest| rest.split('"').next().unwrap());
                    found.extend(names.map(|name| folder.join(name).canonicalize().unwrap()));
                }
            }
        }
    }
    found
}

#[test]
fn what_is_compiled_in_reaches_the_build_of_the_image() {
    let ignored = std::fs::read_to_string(".dockerignore").unwrap();
    let ignored: Vec<&str> = ignored.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // `COPY . .` takes all that .dockerignore leaves.
    let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
    assert!(dockerfile.lines().any(|line| line == "COPY . ."), "{dockerfile}");
    let root = Path::new(".").canonicalize().unwrap();
    let mut needed: Vec<String> =
        compiled_in().iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect();
    for folder in ["queries/", "pipelines/"] {
        assert!(needed.iter().any(|path| path.starts_with(folder)), "nothing of {folder} is compiled in: {needed:?}");
    }
    // Registries are included by a macro that puts their path together; the rest is what cargo itself asks for.
    needed.extend(
        ["pipelines/registry/shop/spans.yaml", "src/bpmn/Cargo.toml", "src/bpmn/lib.rs", "proto", "build.rs"]
            .map(String::from),
    );
    assert!(fits("**/*.md", "src/a/b.md") && fits("src", "src/a/b.md") && !fits("*.md", "src/a/b.md"));
    for path in needed {
        assert!(root.join(&path).exists(), "{path}");
        let hidden = ignored.iter().find(|line| !line.starts_with('!') && fits(line, &path));
        assert!(hidden.is_none(), ".dockerignore hides {path} by `{}`", hidden.unwrap());
    }
}

/// Whether `pattern` of .dockerignore fits `path` or a folder above it.
fn fits(pattern: &str, path: &str) -> bool {
    let pattern = glob::Pattern::new(pattern.trim_matches('/')).unwrap();
    // `*` of .dockerignore ends at a slash.
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    Path::new(path).ancestors().any(|at| at != Path::new("") && pattern.matches_path_with(at, options))
}
