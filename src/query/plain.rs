//! The table `parquet`: a folder of Parquet files that are not ours (sql.md 9.1, `--data`).
//!
//! Duty: find the files below a folder and make one table of them. Guarantee: it reads the files it found and nothing else,
//! and writes nothing. Left to others: data folders of weavergen (`store::offline`), running statements (`gateway`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use arrow::datatypes::{Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::context::SessionContext;
use object_store::memory::InMemory;

use crate::store::{Gen, PartSet, Reader, Snapshot};

/// Name of the table.
pub const NAME: &str = "parquet";
/// Most files of a folder.
const MOST: usize = 10_000;
/// Folders below it that are looked into.
const DEEPEST: usize = 16;

/// The Parquet files below `dir`, in their order; none if there are none.
///
/// Errors: a sentence: a folder cannot be listed, or there are too many.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    walk(dir, DEEPEST, &mut found)?;
    found.sort();
    Ok(found)
}

/// One table of `files`, with every column that one of them has.
///
/// Errors: a sentence: a file is no Parquet file, or two files disagree about a column.
pub async fn table(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, String> {
    let context = SessionContext::new();
    let state = context.state();
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
    let (mut urls, mut schemas) = (Vec::new(), Vec::new());
    for file in files {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let url = ListingTableUrl::parse(url(file)?).map_err(|error| failed(&error))?;
        let schema = options.infer_schema(&state, &url).await.map_err(|error| failed(&error))?;
        schemas.push(Schema::clone(&schema).with_metadata(std::collections::HashMap::new()));
        urls.push(url);
    }
    let schema = Schema::try_merge(schemas).map_err(|error| format!("the files have different columns: {error}"))?;
    // A column that a file does not have is NULL there.
    let fields = schema.fields().iter().map(|field| Field::clone(field).with_nullable(true));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let config =
        ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(Arc::new(schema));
    let table = ListingTable::try_new(config).map_err(|error| error.to_string())?;
    Ok(Arc::new(table))
}

/// A reader without a span, for statements over other tables.
pub fn no_spans() -> Reader {
    let snapshot = Snapshot {
        manifest_version: 0,
        parts: Arc::new(PartSet { parts: Vec::new() }),
        frozen: Vec::new(),
        active: Arc::new(Gen::new(0)),
    };
    Reader::new(Arc::new(ArcSwap::from_pointee(snapshot)), Arc::new(InMemory::new()))
}

fn walk(dir: &Path, deepest: usize, into: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot list {}: {error}", dir.display());
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() && deepest > 0 {
            walk(&path, deepest - 1, into)?;
        } else if path.extension().is_some_and(|of| of.eq_ignore_ascii_case("parquet")) && path.is_file() {
            into.push(path);
        }
        if into.len() > MOST {
            return Err(format!("{} has more than {MOST} Parquet files; name a folder below it", dir.display()));
        }
    }
    Ok(())
}

/// `file` as an address, in which nothing of its name has a meaning.
fn url(file: &Path) -> Result<String, String> {
    let path = file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?;
    let text = path.to_str().ok_or_else(|| format!("the name of {} is not UTF-8", file.display()))?;
    Ok(format!("file://{}", text.replace('%', "%25").replace('#', "%23").replace('?', "%3F")))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::query::gateway::Resources;
    use crate::query::render::value::text;
    use crate::query::{Config, Gateway, Statement};

    fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    async fn asked(dir: &Path, sql: &str) -> Vec<Vec<Option<String>>> {
        let table = table(&files(dir).unwrap()).await.unwrap();
        let clock = crate::clock::Clock::manual(0, 1);
        let (extra, registry) = (vec![(NAME.to_owned(), table)], prometheus::Registry::new());
        let config = Config { threads: 2, ..Config::default() };
        let gateway = Gateway::with(no_spans(), config, Resources::default(), extra, clock, &registry).unwrap();
        let batches = gateway.run(Statement::new(sql)).await.unwrap().collect().await.unwrap();
        let row = |batch: &RecordBatch, row| batch.columns().iter().map(|c| text(c, row).unwrap()).collect();
        batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at)).collect::<Vec<_>>()).collect()
    }

    #[tokio::test]
    async fn files_below_a_folder_are_one_table_also_with_other_columns_and_odd_names() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("day=1 a/deep");
        std::fs::create_dir_all(&deep).unwrap();
        let numbers = |of: &[i64]| Arc::new(Int64Array::from(of.to_vec())) as ArrayRef;
        write(&dir.path().join("a.parquet"), vec![("n", numbers(&[1, 2]))]);
        let names = Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
        write(&deep.join("b.PARQUET"), vec![("n", numbers(&[3])), ("name", names)]);
        std::fs::write(dir.path().join("notes.txt"), "no").unwrap();
        let rows = asked(dir.path(), "SELECT n, name FROM parquet WHERE n > 1 ORDER BY n").await;
        let cell = |text: &str| Some(text.to_owned());
        assert_eq!(rows, [vec![cell("2"), None], vec![cell("3"), cell("x")]]);
        assert_eq!(asked(dir.path(), "SELECT count(*), sum(n) FROM parquet").await, [vec![cell("3"), cell("6")]]);
    }

    #[tokio::test]
    async fn a_file_that_is_none_and_files_that_disagree_are_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(files(dir.path()).unwrap(), Vec::<PathBuf>::new());
        assert!(files(&dir.path().join("nowhere")).is_err());
        write(&dir.path().join("a.parquet"), vec![("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
        write(&dir.path().join("b.parquet"), vec![("n", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]);
        let why = table(&files(dir.path()).unwrap()).await.unwrap_err();
        assert!(why.contains("different columns"), "{why}");
        std::fs::write(dir.path().join("b.parquet"), "no").unwrap();
        let why = table(&files(dir.path()).unwrap()).await.unwrap_err();
        assert!(why.contains("b.parquet"), "{why}");
    }
}
