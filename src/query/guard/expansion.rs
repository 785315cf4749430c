//! What a short text becomes while it is planned.
//!
//! Duty: count the nodes of a statement as the engine plans it, with each common table expression written out at every
//! place that reads it, each alias and window at every place of its SELECT that names it, and each query that stands in an
//! expression twice, for so often the planner checks it for each query around it; and the sets that a GROUP BY stands for. Guarantee: a count is never too small, saturates, and costs no more than the text is long: planning walks
//! what it counts in one go that nothing can stop. Left to others: the caps on the counts (`guard`), what the optimizer
//! makes of the plan (`inlining`).

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, GroupByExpr, Ident, NamedWindowDefinition, Query, Select, SelectItem, Value, Visit, WindowType,
    visit_expressions,
};

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
    /// Expressions of it around the place that the walk has come to.
    expressions: usize,
    /// It stands in an expression.
    is_operand: bool,
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
        let is_operand = self.around.last().is_some_and(|outer| outer.expressions > 0);
        self.around.push(Scope { ahead, is_operand, ..Scope::default() });
    }

    /// The innermost query ends.
    pub fn ends(&mut self) {
        let Some(mut ended) = self.around.pop() else { return };
        if ended.is_operand {
            ended.nodes = ended.nodes.saturating_mul(2);
        }
        match self.around.last_mut() {
            Some(outer) => match outer.ahead.pop() {
                Some(name) => outer.known.push((name, ended.nodes)),
                None => outer.nodes = outer.nodes.saturating_add(ended.nodes),
            },
            None => self.planned = self.planned.saturating_add(ended.nodes),
        }
    }

    /// An expression begins.
    pub fn node_begins(&mut self) {
        self.count(1, 1);
        if let Some(scope) = self.around.last_mut() {
            scope.expressions += 1;
        }
    }

    /// The innermost expression ends.
    pub fn node_ends(&mut self) {
        if let Some(scope) = self.around.last_mut() {
            scope.expressions = scope.expressions.saturating_sub(1);
        }
    }

    /// A SELECT; `name` is how a name in it is read.
    pub fn select(&mut self, select: &Select, name: impl Fn(&Ident) -> String) {
        self.count(WIDE, named_again(select, name).saturating_add(WIDE));
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

/// Nodes that the planner copies within `select`: those of an alias to where GROUP BY, HAVING and QUALIFY name it, by its
/// place too, and those of a named window to each call over it. It does so once, not within what it has copied.
fn named_again(select: &Select, name: impl Fn(&Ident) -> String) -> usize {
    let aliases: HashMap<String, usize> = select.projection.iter().filter_map(|item| alias(item, &name)).collect();
    let windows: HashMap<String, usize> = select
        .named_window
        .iter()
        .map(|NamedWindowDefinition(window, definition)| (name(window), nodes(definition)))
        .collect();
    let of_alias = |expr: &Expr| match expr {
        Expr::Identifier(column) => aliases.get(&name(column)).copied(),
        _ => None,
    };
    let of_key = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(place, _) => {
                let at = place.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
                at.and_then(|at| select.projection.get(at)).map(nodes)
            }
            _ => None,
        },
        other => of_alias(other),
    };
    let of_window = |expr: &Expr| match expr {
        Expr::Function(Function { over: Some(WindowType::NamedWindow(window)), .. }) => {
            windows.get(&name(window)).copied()
        }
        _ => None,
    };
    let keys = sum(&select.group_by, of_key);
    let conditions = sum(&select.having, of_alias).saturating_add(sum(&select.qualify, of_alias));
    keys.saturating_add(conditions).saturating_add(sum(&select.projection, of_window))
}

fn alias(item: &SelectItem, name: impl Fn(&Ident) -> String) -> Option<(String, usize)> {
    match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((name(alias), nodes(expr))),
        _ => None,
    }
}

fn nodes(tree: &impl Visit) -> usize {
    sum(tree, |_| Some(1))
}

/// What `each` says of the expressions in `tree`, together.
fn sum(tree: &impl Visit, each: impl Fn(&Expr) -> Option<usize>) -> usize {
    let mut all = 0_usize;
    let _ = visit_expressions(tree, |expr| {
        all = all.saturating_add(each(expr).unwrap_or(0));
        ControlFlow::<()>::Continue(())
    });
    all
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

    fn select(sql: &str) -> Select {
        let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().pop().unwrap();
        let Statement::Query(query) = statement else { panic!("{sql}") };
        let SetExpr::Select(select) = *query.body else { panic!("{sql}") };
        *select
    }

    fn sets(group_by: &str) -> usize {
        grouping_sets(&select(&format!("SELECT 1 FROM spans GROUP BY {group_by}")).group_by)
    }

    #[test]
    fn an_alias_and_a_window_count_at_each_place_that_names_them() {
        let copies = |sql: &str| named_again(&select(sql), |ident| ident.value.to_lowercase());
        assert_eq!(copies("SELECT a + b AS x FROM spans"), 0);
        assert_eq!(copies("SELECT a + b AS x FROM spans WHERE x > 0 ORDER BY x"), 0, "there it is a column");
        assert_eq!(copies("SELECT a + b AS x FROM spans GROUP BY x"), 3);
        assert_eq!(copies("SELECT max(a) AS y, a + b AS x FROM spans GROUP BY 2, X HAVING y + y > 2"), 10);
        assert_eq!(copies("SELECT rank() OVER (ORDER BY a) AS r FROM spans QUALIFY r = 1 OR r = 2"), 4);
        assert_eq!(copies("SELECT sum(a) OVER w + max(a) OVER w FROM spans WINDOW w AS (ORDER BY b + 1)"), 6);
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
