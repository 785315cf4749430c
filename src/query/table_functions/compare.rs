//! `compare`: what tells some spans from others.
//!
//! Duty: the statement that counts each value of each attribute in both sets. Guarantee: a share is that of all spans
//! of its set; a span that fits both conditions counts in both. Left to others: which attributes make pairs
//! (`attributes::pairs`: scalars up to 128 bytes, 64 a span).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;

use super::arguments::Call;
use super::columns::{double, number, text};
use super::computed::{Computed, instant};

/// Rows unless said, and at most.
const TOP: i64 = 20;
const MOST: i64 = 10_000;

fn schema() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            text("level"),
            text("key"),
            text("value"),
            number("selection_count"),
            double("selection_share"),
            number("baseline_count"),
            double("baseline_share"),
            double("lift"),
            double("score"),
        ]))
    });
    &SCHEMA
}

/// `compare(selection, baseline [, from, to [, top_n]])`.
pub fn compare(call: &Call<'_>, _: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(2..=5, "two conditions, and perhaps two times and how many rows")?;
    let (selection, baseline) = (call.predicate(0)?, call.predicate(1)?);
    let time = match call.args.len() {
        2 => "true".to_owned(),
        3 => return Err(call.wrong("takes both times or none")),
        _ => {
            let (from, to) = call.time(2)?;
            format!("start_time >= {} AND start_time < {}", instant(from), instant(to))
        }
    };
    let top = match call.value(4)? {
        None => TOP,
        Some(_) => call.number(4, "how many rows", 1..=MOST)?,
    };
    let columns = ["service_name", "name", "kind", "status_code"];
    let columns = columns.map(|name| format!("named_struct('key', '{name}', 'value', CAST({name} AS TEXT))"));
    let pairs = |level: &str, list: &str| {
        format!("SELECT '{level}' AS level, unnest({list}) AS pair, in_selection, in_baseline FROM picked")
    };
    let sets = "in_selection, in_baseline";
    let apart =
        |level: &str| format!("SELECT level, pair['key'] AS key, pair['value'] AS value, {sets} FROM of_{level}");
    // Each span has one service: its pairs count the spans of a set.
    let spans =
        |of: &str| format!("sum(CASE WHEN level = 'span' AND key = 'service_name' THEN {of} ELSE 0 END) OVER ()");
    let sql = format!(
        "WITH marked AS (SELECT attributes, resource, service_name, name, kind, status_code, \
           $selection IS TRUE AS in_selection, $baseline IS TRUE AS in_baseline \
           FROM spans WHERE {time}), \
         picked AS (SELECT * FROM marked WHERE in_selection OR in_baseline), \
         of_span AS ({}), of_attributes AS ({}), of_resource AS ({}), \
         pairs AS ({} UNION ALL {} UNION ALL {}), \
         counted AS (SELECT level, key, value, count(*) FILTER (WHERE in_selection) AS s, \
           count(*) FILTER (WHERE in_baseline) AS b FROM pairs GROUP BY level, key, value), \
         known AS (SELECT level, key, value, s, b, {} AS all_s, {} AS all_b FROM counted), \
         shares AS (SELECT level, key, value, s, b, CAST(s AS DOUBLE) / nullif(all_s, 0) AS s_share, \
           CAST(b AS DOUBLE) / nullif(all_b, 0) AS b_share FROM known) \
         SELECT level, key, value, s AS selection_count, s_share AS selection_share, b AS baseline_count, \
           b_share AS baseline_share, s_share / nullif(b_share, 0) AS lift, \
           coalesce(s_share, 0) - coalesce(b_share, 0) AS score \
         FROM shares ORDER BY score DESC, level, key, value LIMIT {top}",
        pairs("span", &format!("make_array({})", columns.join(", "))),
        pairs("attributes", "attr_pairs(attributes)"),
        pairs("resource", "attr_pairs(resource)"),
        apart("span"),
        apart("attributes"),
        apart("resource"),
        spans("s"),
        spans("b"),
    );
    let predicates = vec![("selection", selection), ("baseline", baseline)];
    Ok(Computed::rows(call.name, schema().clone(), sql, predicates))
}
