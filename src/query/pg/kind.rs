//! Types as clients of PostgreSQL know them (sql.md 9.3).
//!
//! Duty: which type of PostgreSQL a column has. Guarantee: `pg_catalog` and rows say the same of a column. Left to
//! others: values (`value`, `parameter`).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

use crate::query::attributes::is_container;

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One value.
    One(Scalar),
    /// An array of one dimension.
    Many(Scalar),
}

/// A type that is no array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "PostgreSQL's own names")]
pub enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Json,
    Jsonb,
}

/// What a field's metadata says of columns that hold numbers of objects (datafusion-pg-catalog).
const OID: &str = "pg.oid_alias";

impl Scalar {
    const ALL: [Self; 17] = [
        Self::Bool,
        Self::Int2,
        Self::Int4,
        Self::Int8,
        Self::Oid,
        Self::Float4,
        Self::Float8,
        Self::Numeric,
        Self::Text,
        Self::Bytea,
        Self::Date,
        Self::Time,
        Self::Timestamp,
        Self::Timestamptz,
        Self::Interval,
        Self::Json,
        Self::Jsonb,
    ];

    /// Its number, that of its arrays, and its bytes (-1 = they differ).
    const fn facts(self) -> (u32, u32, i16) {
        match self {
            Self::Bool => (16, 1000, 1),
            Self::Int2 => (21, 1005, 2),
            Self::Int4 => (23, 1007, 4),
            Self::Int8 => (20, 1016, 8),
            Self::Oid => (26, 1028, 4),
            Self::Float4 => (700, 1021, 4),
            Self::Float8 => (701, 1022, 8),
            Self::Numeric => (1700, 1231, -1),
            Self::Text => (25, 1009, -1),
            Self::Bytea => (17, 1001, -1),
            Self::Date => (1082, 1182, 4),
            Self::Time => (1083, 1183, 8),
            Self::Timestamp => (1114, 1115, 8),
            Self::Timestamptz => (1184, 1185, 8),
            Self::Interval => (1186, 1187, 16),
            Self::Json => (114, 199, -1),
            Self::Jsonb => (3802, 3807, -1),
        }
    }

    /// Its number.
    pub const fn oid(self) -> u32 {
        self.facts().0
    }

    /// The one that `pg_type` calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.name() == name)
    }

    /// What `pg_type` calls it.
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// Its name there, and that of SQL.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Bool => ("bool", "boolean"),
            Self::Int2 => ("int2", "smallint"),
            Self::Int4 => ("int4", "integer"),
            Self::Int8 => ("int8", "bigint"),
            Self::Oid => ("oid", "oid"),
            Self::Float4 => ("float4", "real"),
            Self::Float8 => ("float8", "double precision"),
            Self::Numeric => ("numeric", "numeric"),
            Self::Text => ("text", "text"),
            Self::Bytea => ("bytea", "bytea"),
            Self::Date => ("date", "date"),
            Self::Time => ("time", "time without time zone"),
            Self::Timestamp => ("timestamp", "timestamp without time zone"),
            Self::Timestamptz => ("timestamptz", "timestamp with time zone"),
            Self::Interval => ("interval", "interval"),
            Self::Json => ("json", "json"),
            Self::Jsonb => ("jsonb", "jsonb"),
        }
    }
}

impl Kind {
    /// Text.
    pub const TEXT: Self = Self::One(Scalar::Text);

    /// Its number.
    pub const fn oid(self) -> u32 {
        match self {
            Self::One(of) => of.facts().0,
            Self::Many(of) => of.facts().1,
        }
    }

    /// Its bytes; -1 = they differ.
    pub const fn bytes(self) -> i16 {
        match self {
            Self::One(of) => of.facts().2,
            Self::Many(_) => -1,
        }
    }

    /// What `pg_type` calls it.
    pub fn name(self) -> String {
        match self {
            Self::One(of) => of.name().to_owned(),
            Self::Many(of) => format!("_{}", of.name()),
        }
    }

    /// What `information_schema` calls it.
    pub const fn sql_name(self) -> &'static str {
        match self {
            Self::One(of) => of.names().1,
            Self::Many(_) => "ARRAY",
        }
    }

    /// The type of number `oid`, as what its values are read here. `None` = 0 or one that is not known.
    pub fn numbered(oid: u32) -> Option<Self> {
        let same = |of: &Scalar| {
            let (one, many, _) = of.facts();
            (one == oid).then_some(Self::One(*of)).or((many == oid).then_some(Self::Many(*of)))
        };
        Scalar::ALL.iter().find_map(same).or(match oid {
            // "char", name, xml, bpchar, varchar, uuid
            18 | 19 | 142 | 1042 | 1043 | 2950 => Some(Self::TEXT),
            1002 | 1003 | 1014 | 1015 | 2951 => Some(Self::Many(Scalar::Text)),
            // regproc, xid, cid, regclass, regtype, regrole, regnamespace
            24 | 28 | 29 | 2205 | 2206 | 4096 | 4089 => Some(Self::One(Scalar::Oid)),
            _ => None,
        })
    }

    /// The type of a column.
    pub fn of(field: &Field) -> Self {
        // A hash: half of them do not fit into a number with a sign. Counts of the engine do, and are awaited as such.
        if field.name() == "resource_key" && *field.data_type() == DataType::UInt64 {
            return Self::One(Scalar::Numeric);
        }
        match Self::of_type(field.data_type()) {
            Self::One(Scalar::Int4) if field.metadata().contains_key(OID) => Self::One(Scalar::Oid),
            of => of,
        }
    }

    /// The type of a column of `of`: ids, containers, histograms, structures and lists of those are text.
    pub fn of_type(of: &DataType) -> Self {
        if is_container(of) {
            return Self::TEXT;
        }
        match of {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                match one(item.data_type()) {
                    Some(of) => Self::Many(of),
                    None => Self::TEXT,
                }
            }
            DataType::Dictionary(_, of) => Self::of_type(of),
            of => Self::One(one(of).unwrap_or(Scalar::Text)),
        }
    }
}

/// The type of single values; `None` = nested, which is text as JSON.
fn one(of: &DataType) -> Option<Scalar> {
    Some(match of {
        DataType::Boolean => Scalar::Bool,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Scalar::Int2,
        DataType::Int32 | DataType::UInt16 => Scalar::Int4,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Scalar::Int8,
        DataType::Float16 | DataType::Float32 => Scalar::Float4,
        DataType::Float64 => Scalar::Float8,
        of if of.is_decimal() => Scalar::Numeric,
        DataType::FixedSizeBinary(8 | 16) => Scalar::Text,
        DataType::FixedSizeBinary(_) | DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Scalar::Bytea,
        DataType::Date32 | DataType::Date64 => Scalar::Date,
        DataType::Time32(_) | DataType::Time64(_) => Scalar::Time,
        // What was cast so: all times of ours have a zone, which is UTC.
        DataType::Timestamp(_, None) => Scalar::Timestamp,
        DataType::Timestamp(..) => Scalar::Timestamptz,
        DataType::Interval(_) | DataType::Duration(_) => Scalar::Interval,
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Scalar::Text,
        DataType::Dictionary(_, of) => return one(of),
        _ => return None,
    })
}

/// A type of Arrow for `of`, for which `pg_catalog` names it again.
pub fn arrow_type(of: Scalar) -> DataType {
    match of {
        Scalar::Bool => DataType::Boolean,
        Scalar::Int2 => DataType::Int16,
        Scalar::Int4 | Scalar::Oid => DataType::Int32,
        Scalar::Int8 => DataType::Int64,
        Scalar::Float4 => DataType::Float32,
        Scalar::Float8 => DataType::Float64,
        Scalar::Numeric => DataType::Decimal128(38, 10),
        Scalar::Text | Scalar::Json | Scalar::Jsonb => DataType::Utf8,
        Scalar::Bytea => DataType::Binary,
        Scalar::Date => DataType::Date32,
        Scalar::Time => DataType::Time64(TimeUnit::Microsecond),
        Scalar::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Scalar::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Scalar::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
    }
}

/// `field` as `pg_catalog` is to know it: of a type of Arrow for which it names the same type of PostgreSQL.
pub fn in_catalogue(field: &Field) -> Field {
    let of = match Kind::of(field) {
        Kind::One(of) => arrow_type(of),
        Kind::Many(of) => DataType::List(Arc::new(Field::new("item", arrow_type(of), true))),
    };
    Field::new(field.name(), of, field.is_nullable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::schema;

    #[test]
    fn numbers_of_types_lead_back_to_them() {
        for of in Scalar::ALL {
            for kind in [Kind::One(of), Kind::Many(of)] {
                assert_eq!(Kind::numbered(kind.oid()), Some(kind));
            }
        }
        assert_eq!(Kind::numbered(0), None);
        assert_eq!(Kind::numbered(705), None);
    }

    #[test]
    fn ids_containers_and_structures_are_text() {
        let text = |of: &DataType| assert_eq!(Kind::of_type(of), Kind::TEXT, "{of}");
        text(&schema::attributes());
        text(&DataType::FixedSizeBinary(16));
        text(&DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into()));
        let nested = DataType::Struct(vec![Field::new("a", DataType::Int64, true)].into());
        text(&DataType::List(Arc::new(Field::new("item", nested, true))));
        let words = DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::Utf8));
        text(&words);
        assert_eq!(Kind::of_type(&DataType::List(Arc::new(Field::new("item", words, true)))), Kind::Many(Scalar::Text));
    }
}
