//! The SQL that people write here: PostgreSQL's, as the parser knows it.
//!
//! Duty: [`Postgres`], for every text that is parsed. Guarantee: it reads as PostgreSQL's dialect does, except for names of
//! arguments that are expressions (`json_object('a': 1)`, which no function here has): to look for one the parser reads
//! each argument twice, and so a call within thirty others a thousand million times, in one go that nothing can stop. Left
//! to others: what may be asked (`guard`).

use std::any::TypeId;

use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

/// PostgreSQL's dialect without what takes exponential time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Postgres;

const THEIRS: PostgreSqlDialect = PostgreSqlDialect {};

/// Answers as PostgreSQL's dialect does.
macro_rules! as_theirs {
    ($($name:ident)*) => { $(fn $name(&self) -> bool { THEIRS.$name() })* };
}

impl Dialect for Postgres {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        THEIRS.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        THEIRS.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        THEIRS.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        THEIRS.is_identifier_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        THEIRS.is_reserved_for_identifier(keyword)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        THEIRS.is_custom_operator_part(ch)
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        THEIRS.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        THEIRS.prec_value(precedence)
    }

    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    as_theirs! {
        supports_unicode_string_literal supports_filter_during_aggregation supports_group_by_expr allow_extract_custom
        allow_extract_single_quotes supports_create_index_with_clause supports_explain_with_utility_options
        supports_listen_notify supports_factorial_operator supports_bitwise_shift_operators supports_comment_on
        supports_load_extension supports_named_fn_args_with_colon_operator supports_empty_projections
        supports_nested_comments supports_string_escape_constant supports_numeric_literal_underscores
        supports_array_typedef_with_brackets supports_geometric_types supports_set_names
        supports_alter_column_type_using supports_notnull_operator supports_interval_options
        supports_insert_table_alias supports_create_table_like_parenthesized supports_select_wildcard_with_alias
        supports_comma_separated_trim supports_xml_expressions supports_comment_optimizer_hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_postgresql_does() {
        for sql in [
            "SELECT attributes['http.route'], e'\\n', U&'\\0061', 1_000, ARRAY[1]::int[], x NOTNULL FROM spans /* /* */ */",
            "SELECT sum(a) FILTER (WHERE b > 1) OVER w, 1 << 2, a || b COLLATE \"C\", now() AT TIME ZONE 'UTC' FROM spans WINDOW w AS ()",
            "SELECT f(a => 1), make_interval(days => 10), INTERVAL '1 day' DAY, extract(epoch FROM t), trim(BOTH 'x' FROM y)",
            "SELECT - 2 ^ 2, NOT a = b, a -> 'b' ->> 'c', a @> b, a ~* 'x', a BETWEEN 1 AND 2 AND c, substring(a FROM 1 FOR 2)",
        ] {
            // As text: the name of an argument is a name here, and an expression there.
            let read = |dialect: &dyn Dialect| Parser::parse_sql(dialect, sql).unwrap()[0].to_string();
            assert_eq!(read(&Postgres), read(&PostgreSqlDialect {}));
        }
    }

    #[test]
    fn calls_within_calls_are_read_in_a_moment() {
        let all = || {
            for (open, close) in
                [("f(", ")"), ("a.f(", ")"), ("count(DISTINCT ", ")"), ("(VALUES (", "))"), ("date(", "")]
            {
                let sql = format!("SELECT {}1{}", open.repeat(45), close.repeat(45));
                // With names that are expressions it would not end.
                let parser = Parser::new(&Postgres).with_recursion_limit(200);
                let _ = parser.try_with_sql(&sql).unwrap().parse_statements();
            }
        };
        // As deep as query threads are: builds without optimisation need it.
        std::thread::Builder::new().stack_size(64 << 20).spawn(all).unwrap().join().unwrap();
    }
}
