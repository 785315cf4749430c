//! The template engine with the names of semconv.md 9.3.
//!
//! Duty: one environment for one target. Guarantee: the lists of names are the names there are (a test asks each); no
//! clock, chance, file or network is reachable; a render ends within 10 M steps. Left to others: what is rendered
//! (`render`), the filters themselves (`filters`).

use std::sync::{Arc, Mutex};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Rest};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};

use super::config::{Config, Whitespace};
use super::names::Known;
use super::{casing, filters};

/// Steps of one render.
const FUEL: u64 = 10_000_000;

/// Filters of the engine that are let through.
const ENGINE_FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "zip",
];
/// Filters that are added.
const ADDED_FILTERS: &[&str] = &[
    "pluralize",
    "filesizeformat",
    "truncate",
    "striptags",
    "capitalize_first",
    "acronym",
    "split_id",
    "comment",
    "comment_with_prefix",
    "map_text",
    "type_mapping",
    "toyaml",
    "print_member_value",
    "print_value",
    "flatten",
    "numsort",
    "attribute_sort",
    "required",
    "not_required",
    "attribute_namespace",
    "attribute_id",
    "attribute_registry_namespace",
    "attribute_registry_title",
    "attribute_registry_file",
    "metric_namespace",
    "instantiated_type",
    "enum_type",
];
const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "==",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    ">=",
    "gt",
    "greaterthan",
    ">",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "<=",
    "lessthan",
    "lt",
    "<",
    "lower",
    "mapping",
    "ne",
    "!=",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
    "stable",
    "experimental",
    "deprecated",
    "enum",
    "enum_type",
    "simple_type",
    "template_type",
    "array",
];
const FUNCTIONS: &[&str] = &["range", "dict", "namespace", "debug", "cycler", "joiner", "concat_if"];

/// Every name there is.
#[derive(Debug)]
pub(super) struct Names {
    filters: Vec<&'static str>,
}

impl Names {
    pub(super) fn new() -> Self {
        let filters = ENGINE_FILTERS.iter().chain(ADDED_FILTERS).copied();
        let filters = filters.chain(casing::FILTERS.iter().map(|(name, ..)| *name));
        Self { filters: filters.chain(filters::ANSI.iter().map(|(name, _)| *name)).collect() }
    }

    pub(super) fn known(&self) -> Known<'_> {
        Known { filters: &self.filters, tests: TESTS, functions: FUNCTIONS }
    }
}

/// An environment under `config`; templates are added by the caller.
pub(super) fn environment<'a>(config: &Arc<Config>) -> Environment<'a> {
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    let Whitespace { trim_blocks, lstrip_blocks, keep_trailing_newline } = config.whitespace;
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(trim_blocks).lstrip_blocks(lstrip_blocks).keep_trailing_newline(keep_trailing_newline);
    env.set_syntax(syntax.build().expect("the delimiters are the engine's own"));
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.add_filter("pluralize", minijinja_contrib::filters::pluralize);
    env.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    env.add_filter("truncate", minijinja_contrib::filters::truncate);
    env.add_filter("striptags", minijinja_contrib::filters::striptags);
    env.add_function("cycler", minijinja_contrib::globals::cycler);
    env.add_function("joiner", minijinja_contrib::globals::joiner);
    env.add_function("concat_if", concat_if);
    filters::add(&mut env, config);
    env
}

/// Joined text; undefined when any is undefined.
fn concat_if(parts: Rest<Value>) -> Value {
    if parts.iter().any(|part| part.is_undefined() || part.is_none()) {
        return Value::UNDEFINED;
    }
    Value::from(parts.iter().map(ToString::to_string).collect::<String>())
}

/// The global `template`, by which a template names its own file.
#[derive(Debug, Default)]
pub(super) struct FileName(Mutex<Option<String>>);

impl FileName {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl Object for FileName {
    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match (method, args) {
            ("set_file_name", [path]) => {
                let path = path
                    .as_str()
                    .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "template.set_file_name takes text"))?;
                *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(path.to_owned());
                Ok(Value::from(""))
            }
            ("set_file_name", _) => {
                Err(Error::new(ErrorKind::InvalidOperation, "template.set_file_name takes one path"))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> String {
        environment(&Arc::new(Config::default())).render_str(text, ()).unwrap_or_else(|e| format!("{e:#}"))
    }

    #[test]
    fn every_name_in_the_lists_exists() {
        let names = Names::new();
        for name in &names.filters {
            assert_eq!(render(&format!("{{{{ '{name}' is filter }}}}")), "True", "filter {name}");
        }
        for name in TESTS {
            assert_eq!(render(&format!("{{{{ '{name}' is test }}}}")), "True", "test {name}");
        }
        for name in FUNCTIONS {
            assert_eq!(render(&format!("{{{{ {name} is defined }}}}")), "True", "function {name}");
        }
    }

    #[test]
    fn a_template_that_runs_away_is_stopped() {
        let mut env = environment(&Arc::new(Config::default()));
        assert_eq!(env.fuel(), Some(10_000_000));
        env.set_fuel(Some(10_000));
        let text = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
        let error = env.render_str(text, ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfFuel);
        assert!(render("{{ 'x' * 100000000000 }}").contains("fuel"));
    }

    #[test]
    fn python_methods_and_undefined_values_work_as_in_python() {
        assert_eq!(render("{{ 'a.b'.split('.')[1].upper() }}{{ nothing }}{{ concat_if('a', nothing) }}"), "B");
        assert_eq!(render("{{ concat_if('a', 1) }}"), "a1");
    }
}
