//! Names and numbers of objects.
//!
//! Duty: from `spans`, `public.spans`, `integer` or `trace_tree` to the number of it in the catalogue, and back. Guarantee:
//! both ways are those of the tables of the catalogue at that moment, and names are read as PostgreSQL reads them. Left to
//! others: the functions that ask (`identify`), where statements ask by casts (`casts`).

use std::collections::{HashMap, HashSet};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Int32Type;

use super::routines::Routine;

/// What is looked for where a name has no schema, in this order.
const PATH: [&str; 2] = ["pg_catalog", crate::query::session::SCHEMA];

/// What SQL calls types that `pg_type` calls otherwise.
const SPELLED: [(&str, &str); 17] = [
    ("bigint", "int8"),
    ("bit varying", "varbit"),
    ("boolean", "bool"),
    ("char", "bpchar"),
    ("character", "bpchar"),
    ("character varying", "varchar"),
    ("decimal", "numeric"),
    ("dec", "numeric"),
    ("double precision", "float8"),
    ("float", "float8"),
    ("int", "int4"),
    ("integer", "int4"),
    ("real", "float4"),
    ("smallint", "int2"),
    ("time without time zone", "time"),
    ("timestamp with time zone", "timestamptz"),
    ("timestamp without time zone", "timestamp"),
];

/// Kinds of objects whose numbers have types of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// `regclass`.
    Relation,
    /// `regtype`.
    Type,
    /// `regproc`, `regprocedure`.
    Function,
    /// `regnamespace`.
    Schema,
    /// `regrole`.
    Role,
}

impl Of {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Relation, Self::Type, Self::Function, Self::Schema, Self::Role];

    /// The kind that `type_name` is of, in lower case and without a schema.
    pub fn named(type_name: &str) -> Option<Self> {
        Some(match type_name {
            "regclass" => Self::Relation,
            "regtype" => Self::Type,
            "regproc" | "regprocedure" => Self::Function,
            "regnamespace" => Self::Schema,
            "regrole" => Self::Role,
            _ => return None,
        })
    }
}

/// Names and numbers.
#[derive(Debug, Default)]
pub struct Objects {
    schemas: HashMap<String, i32>,
    /// By schema and name.
    relations: HashMap<(i32, String), i32>,
    types: HashMap<String, i32>,
    functions: HashMap<String, i32>,
    /// Names of relations, with the schema where it is needed.
    shown: HashMap<i32, String>,
    function_names: HashMap<i32, String>,
    /// Relations that no name without a schema reaches.
    hidden: HashSet<i32>,
}

impl Objects {
    /// Of the rows of `pg_namespace`, `pg_class`, `pg_type` and `pg_proc`, and the functions of ours.
    pub fn new(
        namespaces: &[RecordBatch],
        classes: &[RecordBatch],
        types: &[RecordBatch],
        procs: &[RecordBatch],
        routines: &[Routine],
    ) -> Self {
        let mut objects = Self::default();
        objects.schemas.extend(named(namespaces, "nspname"));
        let path: Vec<i32> = PATH.iter().filter_map(|schema| objects.schemas.get(*schema).copied()).collect();
        let schema_names: HashMap<i32, String> =
            objects.schemas.iter().map(|(name, number)| (*number, name.clone())).collect();
        for batch in classes {
            let Some(schemas) = numbers(batch, "relnamespace") else { continue };
            for ((name, number), schema) in named(std::slice::from_ref(batch), "relname").into_iter().zip(schemas) {
                let is_reached = path.contains(&schema);
                let shown = match schema_names.get(&schema).filter(|_| !is_reached) {
                    Some(schema) => format!("{}.{}", quoted(schema), quoted(&name)),
                    None => quoted(&name),
                };
                if !is_reached {
                    objects.hidden.insert(number);
                }
                objects.shown.insert(number, shown);
                objects.relations.insert((schema, name), number);
            }
        }
        objects.types.extend(named(types, "typname"));
        for (name, number) in
            named(procs, "proname").into_iter().chain(routines.iter().map(|of| (of.name.clone(), of.oid)))
        {
            objects.function_names.insert(number, name.clone());
            objects.functions.insert(name, number);
        }
        objects
    }

    /// The number of what `text` names; a number as text is that number, `-` is 0.
    pub fn number(&self, of: Of, text: &str) -> Option<i32> {
        let text = text.trim();
        if text == "-" {
            return Some(0);
        }
        if let Ok(number) = text.parse::<u32>() {
            return Some(number.cast_signed());
        }
        match of {
            Of::Type => self.of_type(text),
            Of::Function => {
                let name = text.split_once('(').map_or(text, |(name, _)| name);
                self.functions.get(parts(name)?.last()?).copied()
            }
            Of::Schema => self.schemas.get(parts(text)?.last()?).copied(),
            Of::Role => Some(super::catalogue::OWNER),
            Of::Relation => {
                let parts = parts(text)?;
                let named = |schema: &str, name: &str| {
                    let schema = *self.schemas.get(schema)?;
                    self.relations.get(&(schema, name.to_owned())).copied()
                };
                match parts.as_slice() {
                    [name] => PATH.iter().find_map(|schema| named(schema, name)),
                    [.., schema, name] => named(schema, name),
                    [] => None,
                }
            }
        }
    }

    fn of_type(&self, text: &str) -> Option<i32> {
        let (name, is_array) = type_name(text);
        let name = if is_array { format!("_{name}") } else { name };
        self.types.get(&name).copied()
    }

    /// What the object of `number` is called; `None` = there is none. Types and roles are not asked for here.
    pub fn name(&self, of: Of, number: i32) -> Option<String> {
        match of {
            Of::Relation => self.shown.get(&number).cloned(),
            Of::Function => self.function_names.get(&number).cloned(),
            Of::Schema => self.schemas.iter().find(|(_, of)| **of == number).map(|(name, _)| name.clone()),
            Of::Type | Of::Role => None,
        }
    }

    /// Whether no name without a schema reaches a relation.
    pub fn is_hidden(&self, relation: i32) -> bool {
        self.hidden.contains(&relation)
    }
}

/// What `pg_type` calls a type that SQL writes as `text`, and whether it is an array of it.
pub fn type_name(text: &str) -> (String, bool) {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    let (plain, is_array) = plain.strip_suffix("[]").map_or((plain, false), |item| (item.trim_end(), true));
    // `numeric(10,2)`, `timestamp(6) with time zone`.
    let plain = match (plain.find('('), plain.find(')')) {
        (Some(from), Some(to)) if from < to => format!("{}{}", plain[..from].trim_end(), &plain[to + 1..]),
        _ => plain.to_owned(),
    };
    let plain = plain.trim_matches('"');
    let name = SPELLED.iter().find(|(spelled, _)| *spelled == plain).map_or(plain, |(_, name)| name);
    (name.to_owned(), is_array)
}

/// Names and numbers of rows.
fn named(batches: &[RecordBatch], column: &str) -> Vec<(String, i32)> {
    let of = |batch: &RecordBatch| -> Option<Vec<(String, i32)>> {
        let names = batch.column_by_name(column)?.as_string_opt::<i32>()?.clone();
        let numbers = numbers(batch, "oid")?;
        Some(numbers.into_iter().enumerate().map(|(row, number)| (names.value(row).to_owned(), number)).collect())
    };
    batches.iter().filter_map(of).flatten().collect()
}

fn numbers(batch: &RecordBatch, column: &str) -> Option<Vec<i32>> {
    let numbers = batch.column_by_name(column)?.as_primitive_opt::<Int32Type>()?;
    Some((0..numbers.len()).map(|row| numbers.value(row)).collect())
}

/// Parts of a name: unquoted ones are in lower case. `None` = a quote does not end.
fn parts(text: &str) -> Option<Vec<String>> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '.' => parts.push(std::mem::take(&mut part)),
            '"' => loop {
                match chars.next()? {
                    '"' if chars.next_if_eq(&'"').is_some() => part.push('"'),
                    '"' => break,
                    c => part.push(c),
                }
            },
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    Some(parts)
}

/// A name as SQL writes it.
pub fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::*;

    fn rows(name: &str, of: &[(&str, i32)], schema: Option<&[i32]>) -> Vec<RecordBatch> {
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("oid", Arc::new(Int32Array::from_iter_values(of.iter().map(|(_, number)| *number)))),
            (name, Arc::new(StringArray::from_iter_values(of.iter().map(|(name, _)| *name)))),
        ];
        if let Some(schema) = schema {
            columns.push(("relnamespace", Arc::new(Int32Array::from(schema.to_vec()))));
        }
        vec![RecordBatch::try_from_iter(columns).unwrap()]
    }

    #[test]
    fn names_lead_to_numbers_and_back() {
        let objects = Objects::new(
            &rows("nspname", &[("pg_catalog", 11), ("public", 7), ("system", 8)], None),
            &rows("relname", &[("spans", 20), ("Odd", 21), ("queries", 22), ("pg_class", 23)], Some(&[7, 7, 8, 11])),
            &rows("typname", &[("int4", 23), ("_int4", 1007), ("numeric", 1700), ("timestamptz", 1184)], None),
            &rows("proname", &[("array_recv", 2400)], None),
            &[],
        );
        for (text, number) in [
            ("spans", Some(20)),
            ("public.Spans", Some(20)),
            ("\"Odd\"", Some(21)),
            ("odd", None),
            ("queries", None),
            ("default.system.queries", Some(22)),
            ("pg_class", Some(23)),
            ("4000000000", Some(4_000_000_000_u32.cast_signed())),
            ("-", Some(0)),
            ("\"open", None),
            ("", None),
        ] {
            assert_eq!(objects.number(Of::Relation, text), number, "{text}");
        }
        for (text, number) in [
            ("integer", Some(23)),
            ("pg_catalog.int4[]", Some(1007)),
            ("numeric(10, 2)", Some(1700)),
            ("timestamp(6) with time zone", Some(1184)),
            ("hstore", None),
        ] {
            assert_eq!(objects.number(Of::Type, text), number, "{text}");
        }
        assert_eq!(objects.number(Of::Function, "pg_catalog.array_recv(internal)"), Some(2400));
        assert_eq!(objects.name(Of::Relation, 21).as_deref(), Some("\"Odd\""));
        assert_eq!(objects.name(Of::Relation, 22).as_deref(), Some("system.queries"));
        assert_eq!(objects.name(Of::Schema, 7).as_deref(), Some("public"));
        assert_eq!(objects.name(Of::Relation, 1), None);
        assert!(objects.is_hidden(22) && !objects.is_hidden(20));
    }
}
