//! The guard under texts that were changed by chance.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{self, Visit, Visitor};

use super::hostile;
use super::mutate::rounds;
use crate::error::Class;
use crate::query::guard::{self, Writer};
use crate::query::library::Library;
use crate::query::params::Params;

/// Deep enough for what the guard lets through, as query threads are.
const STACK: usize = 64 << 20;

fn corpus() -> Vec<String> {
    let library = Library::shipped(Some(concat!(env!("CARGO_MANIFEST_DIR"), "/queries").into()));
    let mut corpus: Vec<String> = library.names().iter().map(|name| library.query(name).unwrap().sql).collect();
    corpus.extend(hostile());
    for lines in [include_str!("../pg/clients.txt"), include_str!("../pg/psql.txt")] {
        corpus.extend(lines.lines().filter(|line| !line.starts_with("## ")).map(str::to_owned));
    }
    corpus
}

/// Whether nothing in it is anything but a query.
fn only_reads(parsed: &Parsed) -> bool {
    struct Queries;
    impl Visitor for Queries {
        type Break = ();

        fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<()> {
            match statement {
                ast::Statement::Query(_) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        }
    }
    match parsed {
        Parsed::Statement(statement) => statement.visit(&mut Queries).is_continue(),
        Parsed::Explain(explain) => only_reads(&explain.statement),
        _ => false,
    }
}

#[test]
fn mutated_texts_pass_the_guard_as_queries_or_are_told_what_is_wrong() {
    let work = || {
        let corpus = corpus();
        let (mut passed, mut refused) = (0_u32, 0_u32);
        for mut chance in rounds(300) {
            let sql = chance.text(&corpus);
            for writer in [Writer::Own, Writer::Postgres] {
                match guard::check_of(writer, &sql, &Params::Open) {
                    Ok(checked) => {
                        passed += 1;
                        assert!(only_reads(&checked.statement), "{writer:?}: {sql}");
                    }
                    Err(error) => {
                        refused += 1;
                        let class = error.code.class();
                        assert!(matches!(class, Class::Invalid | Class::NotFound | Class::Denied), "{sql}: {error:?}");
                        assert!(!error.message.is_empty(), "{sql}");
                        let at = error.position.map_or(0, |at| usize::try_from(at.offset).unwrap());
                        assert!(sql.is_char_boundary(at), "{sql}: {error:?}");
                    }
                }
            }
        }
        assert!(passed > 20 && refused > 20, "{passed} passed, {refused} were refused");
    };
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap();
}
