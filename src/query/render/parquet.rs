//! A Parquet file.
//!
//! Duty: the plain types of the Arrow stream as row groups, with units and SQL types in the metadata of the fields.
//! Guarantee: without its footer the file is not readable, so a cut body cannot be taken for a whole one; about 8 MiB of
//! rows wait for their row group. Left to others: rows.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::arrow::{plain_batch, plain_schema};
use crate::query::error::{Code, Error};

/// Bytes of a row group before it is written.
const ROW_GROUP: usize = 8 << 20;

/// Writes one file.
pub(super) struct Parquet {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Parquet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parquet").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Parquet {
    pub(super) fn begin(schema: &Schema) -> Result<Self, Error> {
        let schema = Arc::new(plain_schema(schema, false));
        let compression = Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level of zstd"));
        let properties = WriterProperties::builder().set_compression(compression).build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).map_err(unfit)?;
        Ok(Self { writer, schema })
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), Error> {
        self.writer.write(&plain_batch(batch, &self.schema)?).map_err(unfit)?;
        if self.writer.in_progress_size() >= ROW_GROUP {
            self.writer.flush().map_err(unfit)?;
        }
        // The writer counts what it wrote itself, so what is out need not be kept.
        out.append(self.writer.inner_mut());
        Ok(())
    }

    pub(super) fn end(self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.append(&mut self.writer.into_inner().map_err(unfit)?);
        Ok(())
    }
}

fn unfit(error: ParquetError) -> Error {
    Error::new(Code::Type, format!("the rows cannot be written as Parquet: {error}"))
        .hint("choose another format, or cast the column, e.g. `x::text`")
}
