//! Claims about which subqueries are changed, and into what.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::*;

fn tree(sql: &str) -> ast::Statement {
    Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().pop().unwrap()
}

#[test]
fn subqueries_of_the_catalogue_are_changed_and_those_of_ours_are_not() {
    let changed = |sql: &str| {
        let mut statement = tree(sql);
        subqueries(&mut statement);
        statement.to_string()
    };
    for same in [
        "SELECT (SELECT count(*) FROM spans) AS pg_total FROM pg_class",
        "SELECT (SELECT count(*) FROM spans WHERE name = c.relname) FROM pg_class AS c",
        "SELECT (SELECT relname FROM pg_class AS c WHERE c.relname = s.name) FROM spans AS s",
        "WITH a AS (SELECT * FROM spans) SELECT (SELECT max(a.name) FROM a) FROM pg_class",
        "SELECT (SELECT count(*) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0) FROM pg_class AS c",
        "SELECT c.relname FROM pg_class AS c WHERE (SELECT count(*) = 1 FROM spans WHERE name = c.relname)",
        "SELECT (SELECT max(t.name) FROM trace_tree('ab') AS t WHERE t.kind > c.relname) FROM pg_class AS c",
        "SELECT (SELECT t.name FROM trace_tree('ab') AS t WHERE t.name = c.relname) IS NULL FROM pg_class AS c",
        "SELECT (SELECT stddev(a.attnum) FROM pg_attribute AS a WHERE a.attrelid = c.oid) FROM pg_class AS c",
    ] {
        assert_eq!(changed(same), same);
    }
    for (from, to) in [
        (
            "SELECT (SELECT d.adbin FROM pg_attrdef AS d WHERE d.adrelid = a.attrelid) FROM pg_attribute AS a",
            "SELECT NULL FROM pg_attribute AS a",
        ),
        (
            "SELECT (SELECT d.adbin FROM pg_attrdef AS d WHERE d.adrelid = a.attrelid) IS NOT NULL AS b FROM pg_attribute \
             AS a",
            "SELECT (SELECT count(d.adbin) FROM pg_attrdef AS d WHERE d.adrelid = a.attrelid) > 0 AS b FROM pg_attribute \
             AS a",
        ),
        (
            "SELECT (SELECT d.adbin FROM pg_attrdef AS d WHERE d.adrelid > a.attrelid) IS NULL FROM pg_attribute AS a",
            "SELECT NULL IS NULL FROM pg_attribute AS a",
        ),
        (
            "SELECT 1 FROM pg_class AS c WHERE (SELECT d.classoid FROM pg_description AS d WHERE d.objoid > c.oid) IS NULL",
            "SELECT 1 FROM pg_class AS c WHERE NOT EXISTS (SELECT 1 FROM pg_description AS d WHERE (d.objoid > c.oid) \
             AND ((d.classoid) IS NOT NULL))",
        ),
        ("SELECT (SELECT max(pg_class.oid) FROM pg_class)", "SELECT (SELECT max(pg_class.oid) FROM pg_class LIMIT 1)"),
        (
            "SELECT (SELECT oid FROM pg_class WHERE relname = $1)",
            "SELECT (SELECT oid FROM pg_class WHERE relname = $1 LIMIT 1)",
        ),
        (
            "SELECT ARRAY(SELECT b.rolname FROM pg_auth_members AS m JOIN pg_roles AS b ON m.roleid = b.oid WHERE \
             m.member = r.oid) AS memberof FROM pg_roles AS r",
            "SELECT ARRAY[]::TEXT[] AS memberof FROM pg_roles AS r",
        ),
        (
            "SELECT t.typname FROM pg_type AS t WHERE (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_class AS c \
             WHERE c.oid = t.typrelid))",
            "SELECT t.typname FROM pg_type AS t WHERE (t.typrelid = 0 OR EXISTS (SELECT 1 FROM pg_class AS c WHERE \
             (c.oid = t.typrelid) AND (c.relkind = 'c')))",
        ),
    ] {
        assert_eq!(changed(from), to);
    }
}
