//! What the demo sets up: a configuration, a gate, and instrumentation of which two services lack attributes.
//!
//! Guarantee: ports are chosen once, so a daemon that is started again is found where it was; everything lies in one
//! folder. Left to others: running it (`child`, `keeper`).

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// The statement of the gate that the demo copies, as it ships.
const COMPLETENESS: &str = include_str!("../../../queries/founding/span_completeness.sql");

/// The demo's folder.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    root: PathBuf,
}

/// Attributes that the two services lack at first.
pub(super) const OMITTED: [(&str, &str); 2] = [
    ("checkout", "[app.order.currency, app.cart.id, server.address, rpc.method]"),
    ("payment", "[app.order.id, app.payment.currency, rpc.method]"),
];

impl Stage {
    /// Sets up `root`; notices go to `hook`.
    pub(super) fn build(root: &Path, hook: &str) -> anyhow::Result<Self> {
        let root = fs::canonicalize(root).with_context(|| format!("cannot find {}", root.display()))?;
        let stage = Self { root };
        let queries = stage.queries();
        for folder in [queries.join("gates"), queries.join("founding"), stage.run_dir(), stage.services()] {
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(queries.join("founding/span_completeness.sql"), COMPLETENESS)?;
        fs::write(queries.join("gates/demo.yaml"), stage.gate_file())?;
        fs::write(stage.config(), stage.config_file(hook)?)?;
        Ok(stage)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.root.join("weavergen.yaml")
    }

    /// The folder that holds everything.
    pub(super) fn folder(&self) -> &Path {
        &self.root
    }

    fn queries(&self) -> PathBuf {
        self.root.join("queries")
    }

    fn services(&self) -> PathBuf {
        self.root.join("services")
    }

    /// Where running services leave their process ids.
    pub(super) fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("demo.log")
    }

    /// The instrumentation file of a service.
    pub(super) fn instrumentation(&self, service: &str) -> PathBuf {
        self.services().join(service).join("instrumentation.yaml")
    }

    /// Generates the instrumentation of `service` as it is at first.
    pub(super) fn instrument(&self, service: &str) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(["generate", "instrumentation"]).arg(self.services().join(service));
        command.args(["--registry", "builtin:shop", "--variant", "complete", "-D", &format!("service={service}")]);
        if let Some((_, omitted)) = OMITTED.iter().find(|(name, _)| *name == service) {
            command.args(["-D", &format!("omit={omitted}")]);
        }
        // The demo shows its own set of files, whatever lies in the folder it is started in.
        let output = command.current_dir(&self.root).stdin(Stdio::null()).output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "cannot generate the instrumentation of {service}:\n{told}");
        Ok(())
    }

    fn gate_file(&self) -> String {
        let (services, run_dir) = (self.services(), self.run_dir());
        let (services, run_dir) = (services.display(), run_dir.display());
        format!(
            r#"groups:
  - name: demo
    interval: 1s
    query_offset: 1s
    gates:
      - gate: span_completeness
        sql_file: ../founding/span_completeness.sql
        by: [service_name]
        window: 10s
        min_samples: 20
        conclusive_when: match_rate >= 0.8
        pass: "> 95%"
        warn: "> 90%"
        for: 2s
        annotations: {{ summary: "{{{{ labels.service_name }}}}: {{{{ value | round(3) }}}} of its required attributes are there" }}
        on_fail:
          pipeline: regenerate
          cooldown: 1m
          input:
            service: "{{{{ labels.service_name }}}}"
            output: "{services}/{{{{ labels.service_name }}}}"
            run_dir: "{run_dir}"
"#
        )
    }

    fn config_file(&self, hook: &str) -> anyhow::Result<String> {
        let [grpc, http, api, health, metrics] = free_ports()?;
        let (data, queries, services) = (self.data(), self.queries(), self.services());
        let (data, queries, services) = (data.display(), queries.display(), services.display());
        Ok(format!(
            r#"receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: 127.0.0.1:{grpc} }}
      http: {{ endpoint: 127.0.0.1:{http} }}
exporters:
  weavergen:
extensions:
  health_check: {{ endpoint: 127.0.0.1:{health} }}
service:
  extensions: [health_check]
  pipelines:
    traces: {{ receivers: [otlp], exporters: [weavergen] }}
  telemetry:
    metrics:
      readers: [{{ pull: {{ exporter: {{ prometheus: {{ host: 127.0.0.1, port: {metrics} }} }} }} }}]
storage: {{ path: "{data}" }}
web: {{ endpoint: 127.0.0.1:{api} }}
queries: {{ dir: "{queries}" }}
semconv: {{ registry: "builtin:shop" }}
gates: {{ interval: 1s, query_offset: 1s, idle_source_after: 1s, bucket: 1s }}
notify:
  default: [demo]
  receivers:
    demo: {{ webhook: {{ url: "{hook}" }} }}
engine:
  jobs:
    commands: {{ weavergen: {{ path: self }} }}
    roots: ["{services}"]
learn: {{ interval: 5s, window: 10s }}
"#
        ))
    }
}

/// Five ports that are free at the moment.
fn free_ports() -> anyhow::Result<[u16; 5]> {
    // All are held until all are known, so that they differ.
    let listeners: Vec<TcpListener> =
        (0..5).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>().context("no free port")?;
    let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<_, _>>()?;
    Ok(ports.try_into().expect("five listeners have five ports"))
}
