//! Attribute keys whose type is fixed by the stable semantic conventions.
//!
//! Duty: `pinned.tsv`, compiled in and looked up by key. Guarantee: the file is sorted, so the lookup is a binary
//! search; a test holds it. Left to others: overriding it by a loaded registry or `query.attribute_types`.

use std::sync::LazyLock;

/// The type of an attribute value where a flat column or SQL needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScalarType {
    /// Text.
    Text,
    /// 64-bit integer.
    Int,
    /// Double.
    Double,
    /// True or false.
    Bool,
}

struct Table {
    version: &'static str,
    rows: Vec<(&'static str, ScalarType)>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut lines = include_str!("pinned.tsv").lines();
    let version = lines.next().and_then(|l| l.strip_prefix("# ")).expect("pinned.tsv starts with its version");
    let rows = lines.map(row).collect();
    Table { version, rows }
});

fn row(line: &'static str) -> (&'static str, ScalarType) {
    let (key, of) = line.split_once('\t').expect("a row of pinned.tsv is key TAB type");
    let of = match of {
        "string" => ScalarType::Text,
        "int" => ScalarType::Int,
        "double" => ScalarType::Double,
        "boolean" => ScalarType::Bool,
        other => panic!("pinned.tsv: unknown type `{other}`"),
    };
    (key, of)
}

/// The pinned type of `key`, if it is a stable semantic-convention attribute.
pub fn type_of(key: &str) -> Option<ScalarType> {
    let at = TABLE.rows.binary_search_by_key(&key, |(k, _)| k).ok()?;
    Some(TABLE.rows[at].1)
}

/// All pinned keys with their types, sorted by key.
pub fn all() -> impl Iterator<Item = (&'static str, ScalarType)> {
    TABLE.rows.iter().copied()
}

/// Version of the semantic conventions that the table was made from.
pub fn version() -> &'static str {
    TABLE.version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_answers() {
        assert!(all().zip(all().skip(1)).all(|(a, b)| a.0 < b.0));
        assert_eq!(type_of("http.response.status_code"), Some(ScalarType::Int));
        assert_eq!(type_of("http.route"), Some(ScalarType::Text));
        assert_eq!(type_of("app.coupon"), None);
        assert!(version().starts_with("1."));
    }
}
