//! The configuration as a user meets it: messages with their places, merging, defaults, the command line.
//!
//! `tests/data/config/NAME.yaml` is loaded and all that is said of it is compared with `NAME.txt` beside it. After a
//! change that is meant: `weavergen validate --config tests/data/config/NAME.yaml 2> tests/data/config/NAME.txt`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use weavergen::cli::{Cli, Command};
use weavergen::config::{Environment, Error, Format, Loaded, Request, Unsupported, load, render};
use weavergen::store::config::Durability;

fn environment() -> Environment {
    Environment { xdg_data_home: Some("/xdg".into()), ..Environment::default() }
}

fn request(files: &[&Path], sets: &[&str]) -> Request {
    Request {
        sources: files.iter().map(|file| file.display().to_string()).collect(),
        sets: sets.iter().map(|set| set.parse().unwrap()).collect(),
        ..Request::default()
    }
}

/// Loads texts as files, in order.
fn load_texts(texts: &[&str], sets: &[&str]) -> Result<Loaded, Error> {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let file = folder.path().join(format!("{i}.yaml"));
        std::fs::write(&file, text).unwrap();
        files.push(file);
    }
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    load(&request(&files, sets), &environment())
}

/// What is said of one text, with paths cut down to file names.
fn said_of(texts: &[&str], sets: &[&str]) -> String {
    match load_texts(texts, sets) {
        Ok(loaded) => render(&loaded.warnings, Format::Text),
        Err(Error::Invalid(problems)) => render(&problems, Format::Text),
        Err(error) => error.to_string(),
    }
}

const GRAPH: &str = "
receivers: {otlp: {protocols: {grpc: , http: }}}
processors: {batch: {timeout: 1s, metadata_keys: [a, b]}}
exporters: {weavergen: , nop: }
service: {pipelines: {traces: {receivers: [otlp], processors: [batch], exporters: [weavergen]}}}
";

#[test]
fn every_golden_file_is_said_of_as_written_beside_it() {
    let mut seen = 0;
    for entry in std::fs::read_dir("tests/data/config").unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let want = std::fs::read_to_string(file.with_extension("txt")).unwrap();
        let got = match load(&request(&[&file], &[]), &environment()) {
            Ok(loaded) => render(&loaded.warnings, Format::Text),
            Err(Error::Invalid(problems)) => render(&problems, Format::Text),
            Err(error) => error.to_string(),
        };
        assert_eq!(got.trim_end(), want.trim_end(), "{}", file.display());
        seen += 1;
    }
    assert!(seen >= 19, "{seen} golden files");
}

#[test]
fn without_a_source_the_built_in_graph_is_used_and_every_choice_is_told() {
    let loaded = load(&Request::default(), &environment()).unwrap();
    let config = &loaded.config;
    assert_eq!(config.receivers.len(), 1);
    assert_eq!(config.receivers[0], weavergen::receive::Config::default());
    assert_eq!(config.graph.pipelines[0].exporters, ["weavergen"]);
    assert_eq!(config.health, [weavergen::telemetry::HealthCheck::default()]);
    assert_eq!(config.telemetry, weavergen::telemetry::Config::default());
    assert_eq!(config.store.path, Path::new("/xdg/weavergen"));
    assert_eq!(config.queue_dir, Path::new("/xdg/weavergen/queues"));
    assert_eq!(config.web.endpoint, "localhost:8080");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let told = loaded.defaults_taken.join("\n");
    for part in [
        "built-in configuration by default; change it with --config",
        "/xdg/weavergen by default; change it with --data",
        "localhost:4317 for OTLP over gRPC by default; change it with --set receivers.otlp.protocols.grpc.endpoint=",
        "localhost:4318",
        "localhost:8080 for the API by default; change it with --set web.endpoint=",
        "localhost:8888",
        "localhost:13133",
        "durability fsync",
        "memory limit",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
}

#[test]
fn each_way_that_a_default_line_names_does_change_it() {
    let sets = [
        "receivers.otlp.protocols.grpc.endpoint=localhost:1",
        "web.endpoint=localhost:2",
        "service.telemetry.metrics.readers=[{pull: {exporter: {prometheus: {port: 3}}}}]",
        "extensions.health_check.endpoint=localhost:4",
        "storage.durability=os",
        "memory.limit=1GiB",
    ];
    let loaded = load(&request(&[], &sets), &environment()).unwrap();
    let config = &loaded.config;
    assert_eq!(config.receivers[0].grpc.as_ref().unwrap().endpoint, "localhost:1");
    assert_eq!(config.receivers[0].http.as_ref().unwrap().endpoint, "localhost:4318");
    assert_eq!(config.web.endpoint, "localhost:2");
    assert_eq!(config.telemetry.metrics_endpoint.as_deref(), Some("localhost:3"));
    assert_eq!(config.health[0].endpoint, "localhost:4");
    assert_eq!(config.store.durability, Durability::Os);
    assert_eq!(config.memory_limit_bytes, 1 << 30);
    let told = loaded.defaults_taken.join("\n");
    assert!(!told.contains("8080") && !told.contains("8888") && !told.contains("4317"), "{told}");
    assert!(told.contains("4318"), "{told}");
}

#[test]
fn data_wins_over_the_storage_path_of_file_and_set() {
    let mut request = request(&[], &["storage.path=/from/set"]);
    assert_eq!(load(&request, &environment()).unwrap().config.store.path, Path::new("/from/set"));
    request.data = Some("123".into());
    let config = load(&request, &environment()).unwrap().config;
    assert_eq!((config.store.path.as_path(), config.queue_dir.as_path()), (Path::new("123"), Path::new("123/queues")));
}

#[test]
fn maps_merge_and_lists_and_scalars_are_replaced() {
    use weavergen::process::Kind;
    let batch = |texts: &[&str], sets: &[&str]| {
        let loaded = load_texts(texts, sets).map_err(|error| error.to_string()).unwrap();
        match &loaded.config.graph.pipelines[0].processors[0].kind {
            Kind::Batch(batch) => batch.clone(),
            other => panic!("{other:?}"),
        }
    };
    let millis = Duration::from_millis;
    let over = "processors: {batch: {send_batch_size: 7}}";
    let got = batch(&[GRAPH, over], &[]);
    assert_eq!((got.send_batch_size, got.timeout, got.metadata_keys.len()), (7, millis(1000), 2), "maps join");
    assert_eq!(batch(&[GRAPH, "processors: {batch: {timeout: 2s}}"], &[]).timeout, millis(2000), "scalars replace");
    let got = batch(&[GRAPH, "processors: {batch: {metadata_keys: [c]}}"], &[]);
    assert_eq!(got.metadata_keys, ["c"], "lists are replaced");
    let got = batch(&[GRAPH, "processors: {batch: {metadata_keys: []}}"], &[]);
    assert!(got.metadata_keys.is_empty(), "an empty list replaces");
    assert_eq!(batch(&[GRAPH, "processors: {batch: }"], &[]).timeout, millis(200), "null wipes what was before");
    assert_eq!(batch(&[GRAPH, "processors: {batch: {}}"], &[]).timeout, millis(1000), "an empty map does not");
    assert_eq!(batch(&[GRAPH, "processors::batch::timeout: 3s"], &[]).timeout, millis(3000), "a key may be a path");
    for set in ["processors.batch.timeout=4s", "processors::batch::timeout=4s", "processors.batch={timeout: 4s}"] {
        let got = batch(&[GRAPH, over], &[set]);
        assert_eq!((got.timeout, got.send_batch_size), (millis(4000), 7), "{set}");
    }
}

#[test]
fn a_null_section_wipes_the_earlier_one() {
    let said = said_of(&[GRAPH, "exporters:"], &[]);
    assert!(said.contains("WG-CFG-0009") || said.contains("WG-CFG-0010"), "{said}");
    assert!(said.contains("references exporter \"weavergen\" which is not configured"), "{said}");
}

#[test]
fn sections_of_ours_alone_are_laid_over_the_built_in_graph() {
    let loaded = load_texts(&["storage: {durability: os}\nweb: {enabled: false}"], &[]).unwrap();
    assert_eq!(loaded.config.graph.pipelines.len(), 1);
    assert_eq!(loaded.config.store.durability, Durability::Os);
    assert!(!loaded.config.web.enabled);
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let text = "
receivers:
  otlp: &base
    protocols: &both {grpc: {endpoint: 'localhost:1'}, http: {endpoint: 'localhost:2'}}
  otlp/2:
    <<: *base
    protocols:
      <<: *both
      grpc: {endpoint: 'localhost:3'}
exporters: {weavergen: }
service: {pipelines: {traces: {receivers: [otlp, otlp/2], exporters: [weavergen]}}}
";
    let config = load_texts(&[text], &[]).unwrap().config;
    let endpoints = |i: usize| {
        let receiver: &weavergen::receive::Config = &config.receivers[i];
        (receiver.grpc.as_ref().unwrap().endpoint.clone(), receiver.http.as_ref().unwrap().endpoint.clone())
    };
    assert_eq!(endpoints(0), ("localhost:1".to_owned(), "localhost:2".to_owned()));
    assert_eq!(endpoints(1), ("localhost:3".to_owned(), "localhost:2".to_owned()));
}

#[test]
fn aliases_that_grow_without_bound_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let before = format!("*a{}", i - 1);
        let ten = vec![before; 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{ten}]\n"));
    }
    let said = said_of(&[&bomb], &[]);
    assert!(said.contains("error[WG-CFG-0001]: cannot parse YAML: aliases grow beyond 100000 nodes"), "{said}");
    assert!(said_of(&["a: &a [*a]"], &[]).contains("inside the node it names"));
    let deep = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(said_of(&[&deep], &[]).contains("WG-CFG-0001"));
    let block: String = (0..300).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(said_of(&[&block], &[]).contains("nested deeper than 128 levels"));
}

#[test]
fn anchors_copy_no_more_than_aliases_do_however_long_the_texts_are() {
    // Each of a hundred anchors names all that the next one does.
    let open: String = (0..100).map(|i| format!("&a{i} [")).collect();
    let nested = format!("a: {open}{}{}", vec!["x"; 2000].join(", "), "]".repeat(100));
    let said = said_of(&[&nested], &[]);
    assert!(
        said.contains("error[WG-CFG-0001]: cannot parse YAML: what anchors name grows beyond 100000 nodes"),
        "{said}"
    );
    let long = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 100].join(", "));
    let said = said_of(&[&long], &[]);
    assert!(said.contains("cannot parse YAML: aliases grow beyond 100000 nodes"), "{said}");
}

#[test]
fn any_cut_of_a_good_file_is_answered_without_a_panic() {
    let text = std::fs::read_to_string("tests/data/config/three_signals.yaml").unwrap();
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = said_of(&[&text[..end]], &[]);
    }
}

#[test]
fn a_collectors_file_with_three_signals_starts_and_runs_its_traces() {
    let file = Path::new("tests/data/config/three_signals.yaml");
    let loaded = load(&request(&[file], &[]), &environment()).unwrap();
    let config = &loaded.config;
    assert_eq!(config.graph.pipelines.len(), 1);
    let pipeline = &config.graph.pipelines[0];
    assert_eq!((pipeline.id.as_str(), pipeline.receivers.as_slice()), ("traces", &["otlp".to_owned()][..]));
    let processors: Vec<&str> = pipeline.processors.iter().map(|processor| processor.id.as_str()).collect();
    assert_eq!(processors, ["memory_limiter", "batch"]);
    assert_eq!(pipeline.exporters, ["weavergen", "debug"]);
    assert_eq!(config.health.len(), 1, "zpages is skipped");
    assert!(config.telemetry.json);
    let codes: Vec<String> = loaded.warnings.iter().map(|warning| warning.code.to_string()).collect();
    assert_eq!(codes.iter().filter(|code| *code == "WG-CFG-0109").count(), 2, "{codes:?}");
}

#[test]
fn settings_of_processors_that_bound_nothing_here_are_told() {
    let of = |name: &str, body: &str| {
        let service = format!("traces: {{receivers: [otlp], processors: [{name}], exporters: [weavergen]}}");
        let rest = format!("exporters: {{weavergen: }}\nservice: {{pipelines: {{{service}}}}}");
        said_of(&[&format!("receivers: {{otlp: }}\nprocessors: {{{name}: {body}}}\n{rest}")], &[])
    };
    for (name, body, key) in [
        ("memory_limiter", "{check_interval: 1s, limit_mib: 400, spike_limit_mib: 50}", "limit_mib"),
        ("memory_limiter", "{check_interval: 1s, limit_percentage: 80}", "limit_percentage"),
        ("batch", "{metadata_keys: [tenant]}", "metadata_keys"),
    ] {
        let said = of(name, body);
        let want = format!("warning[WG-CFG-0107]: processors::{name}::{key}: is accepted and has no effect here");
        assert!(said.starts_with(&want), "{said}");
        assert_eq!(said.matches("[WG-CFG-").count(), 1, "{said}");
    }
    assert_eq!(of("batch", "{timeout: 1s, metadata_keys: []}"), "");
}

#[test]
fn unsupported_receivers_are_skipped_while_one_is_left_and_refused_on_request() {
    let text = "
receivers: {otlp: , jaeger: , zipkin: }
exporters: {weavergen: }
extensions: {pprof: }
service: {extensions: [pprof], pipelines: {traces: {receivers: [jaeger, otlp, zipkin], exporters: [weavergen]}}}
";
    let loaded = load_texts(&[text], &[]).unwrap();
    assert_eq!(loaded.config.graph.pipelines[0].receivers, ["otlp"]);
    assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, text).unwrap();
    let strict = Request { unsupported: Unsupported::Error, ..request(&[&file], &[]) };
    let Err(Error::Invalid(problems)) = load(&strict, &environment()) else { panic!("it loads") };
    assert_eq!(problems.iter().filter(|problem| problem.code.is_error()).count(), 3, "{problems:?}");
}

#[test]
fn a_set_is_named_by_its_key_and_its_value_stays_out_of_messages() {
    for set in ["access.tokens_files=hunter2", "access.tokens_file={a: hunter2}", "access.tokens_file=[hunter2"] {
        let said = said_of(&[], &[set]);
        assert!(said.contains("--> --set access.tokens_file"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn the_machine_form_has_the_place_in_fields() {
    let Err(Error::Invalid(problems)) = load_texts(&[GRAPH], &["web.endpont=x"]) else { panic!("it loads") };
    let json: serde_json::Value = serde_json::from_str(&render(&problems, Format::Json)).unwrap();
    let json = json.as_array().unwrap();
    let typo = json.iter().find(|problem| problem["code"] == "WG-CFG-0003").unwrap();
    assert_eq!(typo["severity"], "error");
    assert_eq!(typo["path"], "web");
    assert_eq!(typo["message"], "has invalid keys: endpont");
    assert_eq!((&typo["file"], &typo["line"]), (&"--set web.endpont".into(), &serde_json::Value::Null));
    assert_eq!(typo["help"], "did you mean \"endpoint\"?");
    let unused = json.iter().find(|problem| problem["code"] == "WG-CFG-0105").unwrap();
    assert_eq!((&unused["severity"], &unused["line"], &unused["column"]), (&"warning".into(), &4.into(), &26.into()));
}

#[test]
fn at_most_fifty_problems_are_told_and_the_rest_counted() {
    let keys: String = (0..60).map(|i| format!("  otlp/{i}: 5\n")).collect();
    let text = format!("receivers:\n{keys}exporters: {{weavergen: }}\n");
    let said = said_of(&[&text], &[]);
    assert_eq!(said.matches("[WG-CFG-").count(), 50, "{said}");
    assert!(said.contains(" more"), "{said}");
}

#[test]
fn warnings_take_no_place_of_an_error() {
    let unused: String = (0..60).map(|i| format!("  nop/{i}:\n")).collect();
    let service = "service: {pipelines: {traces: {receivers: [otlp], exporters: [weavergen]}}}";
    let text = format!("receivers:\n  otlp:\n{unused}exporters: {{weavergen: }}\n{service}\nweb: {{endpont: x}}\n");
    let said = said_of(&[&text], &[]);
    assert_eq!(said.matches("[WG-CFG-").count(), 50, "{said}");
    assert_eq!(said.matches("error[WG-CFG-0003]: web: has invalid keys: endpont").count(), 1, "{said}");
    assert!(said.ends_with("… and 11 more"), "{said}");
}

#[test]
fn a_missing_file_is_unreadable_and_an_unknown_scheme_is_named() {
    let missing = load(&request(&[Path::new("/no/such.yaml")], &[]), &environment()).unwrap_err();
    assert!(matches!(missing, Error::Unreadable { .. }), "{missing}");
    let folder = load(&request(&[Path::new("/")], &[]), &environment()).unwrap_err();
    assert!(matches!(folder, Error::Unreadable { .. }), "{folder}");
    for (uri, want) in [("s3://b/k", "unknown scheme \"s3\""), ("env:CFG", "scheme \"env\" is not supported")] {
        let error = load(&request(&[Path::new(uri)], &[]), &environment()).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_timeout_of_0_switches_it_off_over_grpc_as_over_http() {
    let of = |sets: &[&str]| {
        let loaded = load_texts(&[GRAPH], sets).unwrap();
        let receiver = &loaded.config.receivers[0];
        (receiver.grpc_read_timeout, receiver.http.as_ref().unwrap().read_timeout)
    };
    assert_eq!(of(&[]), (Some(Duration::from_secs(30)), Some(Duration::from_secs(30))));
    let sets =
        ["receivers::otlp::weavergen::grpc_read_timeout=0s", "receivers::otlp::protocols::http::read_timeout=0s"];
    assert_eq!(of(&sets), (None, None));
}

#[test]
fn a_path_of_traces_is_decoded_once_and_refused_where_no_request_can_have_it() {
    let of = |path: &str| {
        let set = format!("receivers::otlp::protocols::http::traces_url_path={path}");
        let loaded = load_texts(&[GRAPH], &[&set]);
        loaded.map(|loaded| loaded.config.receivers[0].http.as_ref().unwrap().traces_path.clone())
    };
    for (path, want) in [("/a%20b", "/a b"), ("v1/%74races", "/v1/traces"), ("/%2574", "/%74"), ("/sp%C3%A4t", "/spät")]
    {
        assert_eq!(of(path).unwrap(), want, "{path}");
    }
    for path in ["/%zz", "/%4", "/%ff", "/%0a", "/v1/traces?x", "/a#b"] {
        let said = of(path).unwrap_err().to_string();
        assert!(
            said.contains("error[WG-CFG-0020]: receivers::otlp::protocols::http::traces_url_path: must be"),
            "{said}"
        );
    }
}

#[test]
fn what_is_listed_twice_runs_once() {
    let text = "
receivers: {otlp: }
exporters: {weavergen: }
extensions: {health_check: , health_check/2: {endpoint: 'localhost:1'}}
service:
  extensions: [health_check, health_check/2, health_check]
  pipelines: {traces: {receivers: [otlp, otlp], exporters: [weavergen, weavergen]}}
";
    let config = load_texts(&[text], &[]).unwrap().config;
    let endpoints: Vec<&str> = config.health.iter().map(|check| check.endpoint.as_str()).collect();
    assert_eq!(endpoints, ["localhost:13133", "localhost:1"]);
    assert_eq!((config.receivers.len(), config.graph.pipelines[0].exporters.len()), (1, 1));
}

#[test]
fn a_receiver_names_its_protocols_or_says_nothing_at_all() {
    let said = |body: &str| {
        let graph =
            "exporters: {weavergen: }\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [weavergen]}}}";
        said_of(&[&format!("receivers: {{otlp: {body}}}\n{graph}")], &[])
    };
    for body in ["", "{protocols: {http: }}", "{protocols: {grpc: }, weavergen: {json_strict: true}}"] {
        assert_eq!(said(body), "", "{body}");
    }
    for body in ["{}", "{protocols: }", "{protocols: {}}", "{weavergen: {json_strict: true}}"] {
        let want = "error[WG-CFG-0020]: receivers::otlp::protocols: must specify at least one protocol, grpc or http";
        assert!(said(body).contains(want), "{body}: {}", said(body));
    }
    let wrong = said("{protocols: [grpc]}");
    assert_eq!(wrong.matches("error[").count(), 1, "{wrong}");
}

#[test]
fn the_api_beyond_loopback_needs_a_word_about_callers() {
    let beyond = "web.endpoint=0.0.0.0:8080";
    let with = |set: &str| said_of(&[], &[beyond, set]);
    for refused in ["access.anonymous=admin", "web.allowed_hosts=[a]"] {
        let said = with(refused);
        assert!(said.contains("error[WG-CFG-0020]: web::endpoint"), "{said}");
        assert!(said.contains("access.tokens_file") && said.contains("access.anonymous"), "{said}");
    }
    for allowed in ["access.anonymous=viewer", "access.anonymous=none", "access.tokens_file=/t", "web.enabled=false"] {
        assert!(!with(allowed).contains("error["), "{allowed}: {}", with(allowed));
    }
}

#[test]
fn the_clients_of_postgresql_beyond_loopback_need_it_too() {
    let with = |sets: &[&str]| said_of(&[], &[&["query.pg.endpoint=0.0.0.0:5433"], sets].concat());
    for refused in [&["query.pg.enabled=true"][..], &["query.pg.enabled=true", "access.anonymous=admin"]] {
        let said = with(refused);
        assert!(said.contains("error[WG-CFG-0020]: query::pg::endpoint"), "{said}");
        assert!(said.contains("--set query.pg.endpoint=localhost:5433"), "{said}");
    }
    for allowed in [
        &["query.pg.enabled=false"][..],
        &["query.pg.enabled=true", "access.tokens_file=/t"],
        &["query.pg.enabled=true", "access.anonymous=none"],
    ] {
        assert!(!with(allowed).contains("error["), "{allowed:?}: {}", with(allowed));
    }
}

#[test]
fn usage_errors_end_with_two() {
    for line in [
        &["--set", "novalue"][..],
        &["--set", "a..b=1"],
        &["--no-such-flag"],
        &["no-such-command"],
        &["validate", "--format", "xml"],
        &["--unsupported", "maybe"],
        &["health", "--url", "a", "--data", "b"],
    ] {
        let error = Cli::try_parse_from([&["weavergen"], line].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line:?}");
        assert!(error.to_string().starts_with("error: "), "{error}");
    }
}

#[test]
fn the_daemon_is_run_with_and_without_the_word() {
    let bare = Cli::try_parse_from(["weavergen", "--config", "a", "--config", "b", "--set", "c=d"]).unwrap();
    assert!(bare.command.is_none());
    assert_eq!((bare.run.config.len(), bare.run.set.len()), (2, 1));
    let run = Cli::try_parse_from(["weavergen", "run", "--data", "d"]).unwrap();
    let Some(Command::Run(args)) = run.command else { panic!("{run:?}") };
    assert_eq!(args.data, Some("d".into()));
    let version = Cli::try_parse_from(["weavergen", "--version"]).unwrap_err();
    assert_eq!((version.exit_code(), version.to_string().as_str()), (0, "weavergen 0.1.0\n"));
}

#[test]
fn validate_answers_by_its_exit_code() {
    use weavergen::cli::exit::Exit;
    let run = |file: &str| {
        let cli = Cli::try_parse_from(["weavergen", "validate", "--config", file]).unwrap();
        weavergen::cli::dispatch(cli).unwrap_or_else(|error| Exit::of(&error))
    };
    assert_eq!(run("docker/weavergen.yaml"), Exit::Good);
    assert_eq!(run("tests/data/config/0014_processor_twice.yaml"), Exit::Bad);
    assert_eq!(run("/no/such.yaml"), Exit::Io);
}

#[tokio::test]
async fn health_asks_ready_and_answers_by_its_exit_code() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use weavergen::cli::exit::Exit;
    use weavergen::cli::health::{Args, run};

    for (status, want) in [("200 OK", Exit::Good), ("503 Service Unavailable", Exit::Unavailable)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let run_json = format!(r#"{{"pid": 1, "health": ["{}"]}}"#, listener.local_addr().unwrap());
        std::fs::write(data.path().join("run.json"), run_json).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let n = stream.read(&mut head).await.unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..n]).lines().next().unwrap().to_owned()
        });
        let got = run(&Args { url: None, data: Some(data.path().to_owned()) }).await.unwrap();
        assert_eq!((got, server.await.unwrap().as_str()), (want, "GET /ready HTTP/1.1"));
    }
    let nobody = run(&Args { url: Some("127.0.0.1:9".to_owned()), data: None }).await.unwrap_err();
    assert_eq!(Exit::of(&nobody), Exit::Unavailable, "{nobody:#}");
}
