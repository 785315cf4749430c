//! What clients list: catalogs, schemas, tables, types, keys, what the server can do.
//!
//! Duty: rows for each listing command of Flight SQL. Guarantee: it names what a statement can name, since the gateway is
//! asked; there are no keys, and none is invented. Left to others: tickets (`ticket`).

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Any, Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, Nullable,
    Searchable, SqlInfo, XdbcDataType,
};
use prost::Message as _;

use crate::query::gateway::Table;
use crate::query::render::arrow::plain_schema;
use crate::query::session::CATALOG;
use crate::query::{Code, Error, Gateway};

/// Answers listings.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    pub gateway: &'a Gateway,
    /// Name of who asks.
    pub identity: &'a str,
}

/// The columns of a listing; `None` if `command` is none.
pub(super) fn schema(command: &Command) -> Option<Schema> {
    let of = |schema: SchemaRef| Some(Schema::clone(&schema));
    match command {
        Command::CommandGetCatalogs(of_catalogs) => of((*of_catalogs).into_builder().schema()),
        Command::CommandGetDbSchemas(of_schemas) => of(of_schemas.clone().into_builder().schema()),
        Command::CommandGetTables(of_tables) => of(of_tables.clone().into_builder().schema()),
        Command::CommandGetTableTypes(of_types) => of((*of_types).into_builder().schema()),
        Command::CommandGetSqlInfo(_) => Some(SqlInfoDataBuilder::schema().clone()),
        Command::CommandGetXdbcTypeInfo(_) => of(TYPES.schema()),
        Command::CommandGetPrimaryKeys(_) => Some(primary_keys()),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Some(foreign_keys()),
        _ => None,
    }
}

impl Listing<'_> {
    /// The rows of the command in `bytes`.
    ///
    /// Errors: `sql.argument` for one that lists nothing, those of the gateway.
    pub(super) async fn rows(&self, bytes: &[u8]) -> Result<RecordBatch, Error> {
        let unknown = || Error::new(Code::Argument, "the ticket lists nothing");
        let command = Any::decode(bytes).ok().and_then(|any| Command::try_from(any).ok()).ok_or_else(unknown)?;
        let empty = schema(&command).ok_or_else(unknown)?;
        match command {
            Command::CommandGetCatalogs(command) => catalogs(command),
            Command::CommandGetDbSchemas(command) => schemas(command, &self.tables().await?),
            Command::CommandGetTables(command) => tables(command, &self.tables().await?),
            Command::CommandGetTableTypes(command) => table_types(command),
            Command::CommandGetSqlInfo(command) => INFO.record_batch(command.info).map_err(unwritable),
            Command::CommandGetXdbcTypeInfo(command) => TYPES.record_batch(command.data_type).map_err(unwritable),
            _ => Ok(RecordBatch::new_empty(Arc::new(empty))),
        }
    }

    async fn tables(&self) -> Result<Vec<Table>, Error> {
        self.gateway.tables(self.identity, "flight").await
    }
}

fn catalogs(command: CommandGetCatalogs) -> Result<RecordBatch, Error> {
    let mut builder = command.into_builder();
    builder.append(CATALOG);
    builder.build().map_err(unwritable)
}

fn schemas(command: CommandGetDbSchemas, tables: &[Table]) -> Result<RecordBatch, Error> {
    let mut builder = command.into_builder();
    let mut last = None;
    for table in tables {
        if last != Some(&table.schema) {
            builder.append(CATALOG, &table.schema);
            last = Some(&table.schema);
        }
    }
    builder.build().map_err(unwritable)
}

fn tables(command: CommandGetTables, tables: &[Table]) -> Result<RecordBatch, Error> {
    let mut builder = command.into_builder();
    for table in tables {
        let columns = plain_schema(&table.columns, false);
        builder.append(CATALOG, &table.schema, &table.name, table.kind, &columns).map_err(unwritable)?;
    }
    builder.build().map_err(unwritable)
}

fn table_types(command: CommandGetTableTypes) -> Result<RecordBatch, Error> {
    let mut builder = command.into_builder();
    builder.append("BASE TABLE");
    builder.append("VIEW");
    builder.build().map_err(unwritable)
}

/// What the server can do.
static INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "weavergen");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    // SQL_TRANSACTION_NONE
    info.append(SqlInfo::FlightSqlServerTransaction, 0_i32);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    // SQL_CASE_SENSITIVITY_LOWERCASE
    info.append(SqlInfo::SqlIdentifierCase, 3_i32);
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    // SQL_NULLS_SORTED_HIGH, as in PostgreSQL.
    info.append(SqlInfo::SqlNullOrdering, 0_i32);
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlMaxColumnsInSelect, 500_i64);
    info.build().expect("every value has a place in the union")
});

/// The types of results.
static TYPES: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, of, size, quote) in [
        ("BIGINT", XdbcDataType::XdbcBigint, Some(19), None),
        ("BINARY", XdbcDataType::XdbcBinary, None, Some("X'")),
        ("BOOLEAN", XdbcDataType::XdbcBit, Some(1), None),
        ("DOUBLE", XdbcDataType::XdbcDouble, Some(53), None),
        ("TEXT", XdbcDataType::XdbcVarchar, None, Some("'")),
        ("TIMESTAMP", XdbcDataType::XdbcTimestamp, Some(30), Some("'")),
    ] {
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type: of,
            column_size: size,
            literal_prefix: quote.map(str::to_owned),
            literal_suffix: quote.map(|_| "'".to_owned()),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: name == "TEXT",
            searchable: Searchable::Full,
            unsigned_attribute: matches!(name, "BIGINT" | "DOUBLE").then_some(false),
            local_type_name: Some(name.to_owned()),
            sql_data_type: of,
            num_prec_radix: match name {
                "BIGINT" => Some(10),
                "DOUBLE" => Some(2),
                _ => None,
            },
            ..XdbcTypeInfo::default()
        });
    }
    types.build().expect("every column has a value for each type")
});

/// Columns of GetPrimaryKeys.
fn primary_keys() -> Schema {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        text("key_name", true),
        Field::new("key_sequence", DataType::Int32, false),
    ])
}

/// Columns of GetExportedKeys, GetImportedKeys and GetCrossReference.
fn foreign_keys() -> Schema {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ])
}

fn unwritable(error: FlightError) -> Error {
    tracing::error!(%error, "a listing cannot be written");
    Error::new(Code::Internal, "the listing cannot be written")
}
