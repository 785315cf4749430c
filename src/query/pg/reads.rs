//! What a statement reads: the catalogue, or rows of ours.
//!
//! Duty: tell statements and subqueries about the catalogue from all others. Guarantee: what reads rows of ours, or what is
//! not known, is not taken for the catalogue. Left to others: what is changed by it (`compat`, `subqueries`).

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectName, Query, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;

use super::catalogue::NAME;
use super::tables::USERS;
use super::{absent, casts};
use crate::query::guard::folded;
pub(super) use crate::query::guard::parts;
use crate::query::table_functions::NAMES as FUNCTIONS;

/// What a statement names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Relations of the catalogue.
    pub catalogue: bool,
    /// Relations of ours, or those that are not known.
    pub ours: bool,
    /// Casts to numbers of objects.
    pub casts: bool,
}

/// What `statement` reads.
pub fn reads(statement: &ast::Statement) -> Reads {
    let mut names = Names::default();
    let _: ControlFlow<()> = statement.visit(&mut names);
    names.reads(statement)
}

/// Puts the schema before names of the catalogue that datafusion-pg-catalog does not know.
pub fn qualify(statement: &mut ast::Statement) {
    struct Qualify(Names);
    impl VisitorMut for Qualify {
        type Break = ();

        fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
            if let [one] = parts(name).as_slice()
                && !self.0.expressions.contains_key(one)
                && (one == USERS || absent::has(NAME, one))
            {
                *name = ObjectName::from(vec![Ident::new(NAME), Ident::new(one)]);
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names::default();
    let _: ControlFlow<()> = Visit::visit(&*statement, &mut names);
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Qualify(names));
}

/// Names that a statement gives.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Common table expressions, and whether they read rows of ours.
    expressions: HashMap<String, bool>,
    /// What rows of ours are called.
    pub(super) ours: HashSet<String>,
}

impl Names {
    /// What a part of the statement reads.
    pub(super) fn reads<T: Visit>(&self, of: &T) -> Reads {
        let mut look = Look { names: self, found: Reads::default() };
        let _: ControlFlow<()> = of.visit(&mut look);
        look.found
    }

    /// Whether a relation is one of the catalogue; `None` = it is a function of values, whose arguments say it.
    fn is_catalogue(&self, factor: &TableFactor) -> Option<bool> {
        let (name, is_call) = match factor {
            TableFactor::Table { name, args, .. } => (name, args.is_some()),
            TableFactor::Function { name, .. } => (name, true),
            _ => return None,
        };
        let parts = parts(name);
        match parts.as_slice() {
            [.., schema, _] if schema == "pg_catalog" || schema == "information_schema" => Some(true),
            [.., name] if is_call => gives_spans(name).then_some(false),
            [name] => Some(match self.expressions.get(name) {
                Some(reads_ours) => !reads_ours,
                None => PG_CATALOG_TABLES.contains(&name.as_str()) || name == USERS || absent::has(NAME, name),
            }),
            _ => Some(false),
        }
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for expression in query.with.iter().flat_map(|with| &with.cte_tables) {
            let reads_ours = self.reads(&expression.query).ours;
            self.expressions.insert(folded(&expression.alias.name), reads_ours);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let is_ours = match factor {
            TableFactor::Table { .. } | TableFactor::Function { .. } => self.is_catalogue(factor) == Some(false),
            TableFactor::Derived { subquery, .. } => self.reads(subquery).ours,
            _ => false,
        };
        if is_ours {
            self.ours.extend(called(factor));
        }
        ControlFlow::Continue(())
    }
}

/// Whether a function of that name gives rows of ours: all do that we have but numbers one after another.
fn gives_spans(name: &str) -> bool {
    name != "generate_series" && FUNCTIONS.contains(&name)
}

struct Look<'a> {
    names: &'a Names,
    found: Reads,
}

impl Visitor for Look<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match self.names.is_catalogue(factor) {
            Some(true) => self.found.catalogue = true,
            Some(false) => self.found.ours = true,
            None => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.found.casts |= matches!(expr, Expr::Cast { data_type, .. } if casts::kind(data_type).is_some());
        ControlFlow::Continue(())
    }
}

/// By which name columns of a relation are qualified.
pub(super) fn called(factor: &TableFactor) -> Option<String> {
    let alias = match factor {
        TableFactor::Table { alias, name, .. } => {
            return alias.as_ref().map(|alias| folded(&alias.name)).or_else(|| parts(name).pop());
        }
        TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias,
        _ => return None,
    };
    alias.as_ref().map(|alias| folded(&alias.name))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn tree(sql: &str) -> ast::Statement {
        Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().pop().unwrap()
    }

    #[test]
    fn a_statement_is_about_the_catalogue_where_it_reads_it() {
        let of = |sql: &str| {
            let Reads { catalogue, ours, casts } = reads(&tree(sql));
            (catalogue, ours, casts)
        };
        assert_eq!(of("SELECT 1 AS pg_total, 'pg_class', pg_backend_pid() FROM spans pg_class"), (false, true, false));
        assert_eq!(of("SELECT * FROM pg_class c, spans"), (true, true, false));
        assert_eq!(
            of("SELECT * FROM spans WHERE name IN (SELECT relname FROM pg_catalog.pg_class)"),
            (true, true, false)
        );
        assert_eq!(of("WITH pg_class AS (SELECT * FROM spans) SELECT * FROM pg_class"), (false, true, false));
        assert_eq!(of("WITH a AS (SELECT * FROM pg_class) SELECT * FROM a"), (true, false, false));
        assert_eq!(of("SELECT word FROM pg_catalog.pg_get_keywords()"), (true, false, false));
        assert_eq!(of("SELECT 'spans'::regclass, x::pg_catalog.regtype"), (false, false, true));
        assert_eq!(of("SELECT * FROM trace_tree('ab'), pg_class"), (true, true, false));
        assert_eq!(of("SELECT * FROM pg_class, LATERAL public.descendants('ab', 'cd') d"), (true, true, false));
        assert_eq!(of("SELECT * FROM pg_class, generate_series(1, 3)"), (true, false, false));
    }
}
