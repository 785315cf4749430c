//! What a short text becomes while it is planned.
//!
//! Duty: count the nodes of a statement as the engine plans it, with each common table expression written out at every
//! place that reads it; and the sets that a GROUP BY stands for. Guarantee: a count is never too small, saturates, and
//! costs no more than the text is long: planning walks what it counts in one go that nothing can stop. Left to others:
//! the caps on the counts (`guard`).

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Ident, Query};

/// Nodes that a SELECT and a relation it reads count for: each is a node of the plan with all of its columns.
const WIDE: usize = 25;

/// Counts while a tree is walked: it is told of each node in the walk's order.
#[derive(Default)]
pub struct Expansion {
    /// Queries around the place that the walk has come to, the innermost last.
    around: Vec<Scope>,
    written: usize,
    planned: usize,
}

#[derive(Default)]
struct Scope {
    nodes: usize,
    /// Names of its WITH whose queries are still ahead, the next one last.
    ahead: Vec<String>,
    /// What names of its WITH stand for.
    known: Vec<(String, usize)>,
}

impl Expansion {
    /// `query` begins; `name` is how a name of its WITH is read. Their queries come first in it.
    pub fn begins(&mut self, query: &Query, name: impl Fn(&Ident) -> String) {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        let mut ahead: Vec<String> = with.map(|expression| name(&expression.alias.name)).collect();
        ahead.reverse();
        self.around.push(Scope { ahead, ..Scope::default() });
    }

    /// The innermost query ends.
    pub fn ends(&mut self) {
        let Some(ended) = self.around.pop() else { return };
        match self.around.last_mut() {
            Some(outer) => match outer.ahead.pop() {
                Some(name) => outer.known.push((name, ended.nodes)),
                None => outer.nodes = outer.nodes.saturating_add(ended.nodes),
            },
            None => self.planned = self.planned.saturating_add(ended.nodes),
        }
    }

    /// An expression.
    pub fn node(&mut self) {
        self.count(1, 1);
    }

    /// A SELECT.
    pub fn select(&mut self) {
        self.count(WIDE, WIDE);
    }

    /// A relation called `name`, which may stand for a query.
    pub fn relation(&mut self, name: &str) {
        let mut known = self.around.iter().rev().flat_map(|scope| scope.known.iter().rev());
        let nodes = known.find(|(known, _)| known == name).map_or(0, |(_, nodes)| *nodes);
        self.count(WIDE, nodes.saturating_add(WIDE));
    }

    fn count(&mut self, written: usize, planned: usize) {
        self.written += written;
        if let Some(scope) = self.around.last_mut() {
            scope.nodes = scope.nodes.saturating_add(planned);
        }
    }

    /// Nodes that are planned beyond those that are written, once all queries have ended.
    pub fn copied(&self) -> usize {
        self.planned.saturating_sub(self.written)
    }
}

/// Sets that `group_by` groups by: each one is made before the first row is read.
pub fn grouping_sets(group_by: &GroupByExpr) -> usize {
    let GroupByExpr::Expressions(exprs, _) = group_by else { return 1 };
    let sets = |expr: &Expr| match expr {
        Expr::Cube(elements) => u32::try_from(elements.len()).ok().and_then(|n| 1_usize.checked_shl(n)),
        Expr::Rollup(elements) => Some(elements.len() + 1),
        Expr::GroupingSets(sets) => Some(sets.len().max(1)),
        _ => Some(1),
    };
    exprs.iter().map(|expr| sets(expr).unwrap_or(usize::MAX)).fold(1, usize::saturating_mul)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::{SetExpr, Statement};
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn sets(group_by: &str) -> usize {
        let sql = format!("SELECT 1 FROM spans GROUP BY {group_by}");
        let statement = Parser::parse_sql(&PostgreSqlDialect {}, &sql).unwrap().pop().unwrap();
        let Statement::Query(query) = statement else { panic!("{sql}") };
        let SetExpr::Select(select) = *query.body else { panic!("{sql}") };
        grouping_sets(&select.group_by)
    }

    #[test]
    fn sets_of_one_group_by_multiply() {
        assert_eq!(sets("a, b"), 1);
        assert_eq!(sets("CUBE (a, b, c)"), 8);
        assert_eq!(sets("ROLLUP (a, b, c)"), 4);
        assert_eq!(sets("GROUPING SETS ((a), (b), ())"), 3);
        assert_eq!(sets("x, CUBE (a, b), ROLLUP (c, d), GROUPING SETS ((e), (f))"), 24);
        let columns = vec!["a"; 64].join(", ");
        assert_eq!(sets(&format!("CUBE ({columns})")), usize::MAX);
        assert_eq!(sets(&format!("CUBE ({columns}), a")), usize::MAX);
    }
}
