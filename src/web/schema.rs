//! `/api/v1/schema`.
//!
//! Duty: tables with their columns, types and units, functions with their results, what both are for where it is written
//! down, and the attribute keys that most spans have, as one JSON object. Guarantee: it names what a statement can name, since it asks `information_schema` and the catalogue. Left to
//! others: running the statements (`query`).

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field};
use axum::extract::State;
use axum::{Extension, Json};

use super::{AppState, Error, answer};
use crate::access::Identity;
use crate::query::docs;
use crate::query::render::value::text;
use crate::query::units::unit;
use crate::query::{Code, Statement};

const COLUMNS: &str = "SELECT CASE WHEN table_schema = 'public' THEN table_name \
                       ELSE concat(table_schema, '.', table_name) END, column_name, data_type \
                       FROM information_schema.columns ORDER BY table_schema, table_name, ordinal_position";
const FUNCTIONS: &str = "SELECT DISTINCT routine_name, function_type, data_type, description, syntax_example \
                         FROM information_schema.routines ORDER BY 1, 2";

/// A client completes names with them: not all of thirty thousand.
const KEYS: &str = "SELECT level, key, sql_type FROM attribute_keys WHERE key IS NOT NULL \
                    ORDER BY rows DESC, level, key LIMIT 1000";

pub(super) async fn schema(
    State(state): State<AppState>,
    Extension(identity): Extension<Identity>,
) -> Result<Json<serde_json::Value>, Error> {
    let rows = |sql| rows(&state, &identity, sql);
    let mut tables: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
    for row in rows(COLUMNS).await? {
        let [table, name, of] = <[String; 3]>::try_from(row).map_err(|_| internal())?;
        // A unit is in a number's name.
        let number = matches!(of.as_str(), "BIGINT" | "DOUBLE");
        let field = Field::new(&name, if number { DataType::Int64 } else { DataType::Utf8 }, true);
        let column = serde_json::json!({"name": name, "type": of, "unit": unit(&field)});
        tables.entry(table).or_default().push(column);
    }
    let keys = match tables.contains_key("attribute_keys") {
        true => rows(KEYS).await?,
        false => Vec::new(),
    };
    let key = |row: &Vec<String>| serde_json::json!({"level": row.first(), "key": row.get(1), "type": row.get(2)});
    let keys: Vec<_> = keys.iter().map(key).collect();
    let table = |(name, columns): (&String, &Vec<serde_json::Value>)| {
        let doc = docs::of(docs::Kind::Relation, name);
        let (about, example) = (doc.map(|doc| doc.about.as_str()), doc.map(|doc| doc.example.as_str()));
        serde_json::json!({"name": name, "about": about, "example": example, "columns": columns})
    };
    let tables: Vec<_> = tables.iter().map(table).collect();
    // Functions of the engine have no text of ours.
    let told = |row: &[String], at: usize| row.get(at).filter(|text| !text.is_empty()).cloned();
    let functions = rows(FUNCTIONS).await?.into_iter().map(|row| {
        serde_json::json!({
            "name": row.first(),
            "kind": row.get(1).map(|kind| kind.to_lowercase()),
            "returns": told(&row, 2),
            "about": told(&row, 3),
            "example": told(&row, 4),
        })
    });
    Ok(Json(serde_json::json!({"tables": tables, "functions": functions.collect::<Vec<_>>(), "attribute_keys": keys})))
}

async fn rows(state: &AppState, identity: &Identity, sql: &str) -> Result<Vec<Vec<String>>, Error> {
    let mut rows = Vec::new();
    for batch in state.gateway.run(answer::of(identity, Statement::new(sql))).await?.collect().await? {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| text(column, row).map(Option::unwrap_or_default));
            rows.push(cells.collect::<Result<_, _>>().map_err(|_| internal())?);
        }
    }
    Ok(rows)
}

fn internal() -> Error {
    crate::query::Error::new(Code::Internal, "the schema cannot be listed").into()
}
