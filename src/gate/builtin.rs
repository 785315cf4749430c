//! Gate files that are compiled into the binary.
//!
//! Duty: `queries/gates`. ★ add a file there and here. Guarantee: a test loads all of them. Left to others: which of them
//! run (`files`), the queries that they use (`query::library`).

/// One compiled-in file.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Path below `queries/`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Its gates that run, as `dry_run`, where nobody named it. The others look at every span of an hour or a day, for which
    /// who did not ask shall not pay.
    pub unasked: &'static [&'static str],
}

/// `builtin:NAME` is the file `gates/NAME.yaml`.
pub const GATES: &[Builtin] = &[
    Builtin {
        path: "gates/founding.yaml",
        text: include_str!("../../queries/gates/founding.yaml"),
        unasked: &["span_completeness"],
    },
    Builtin { path: "gates/delivery.yaml", text: include_str!("../../queries/gates/delivery.yaml"), unasked: &[] },
    Builtin {
        path: "gates/instrumentation.yaml",
        text: include_str!("../../queries/gates/instrumentation.yaml"),
        unasked: &[],
    },
    Builtin { path: "gates/semconv.yaml", text: include_str!("../../queries/gates/semconv.yaml"), unasked: &[] },
    Builtin { path: "gates/slo.yaml", text: include_str!("../../queries/gates/slo.yaml"), unasked: &[] },
];

impl Builtin {
    /// `founding` of `gates/founding.yaml`.
    pub fn name(&self) -> &'static str {
        self.path.trim_start_matches("gates/").trim_end_matches(".yaml")
    }
}
