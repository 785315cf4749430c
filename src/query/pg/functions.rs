//! Functions that clients of PostgreSQL call to learn about a server.
//!
//! Duty: those of datafusion-pg-catalog, and ours where it has none or one that is wrong here. Guarantee: none reads
//! anything but the caller, its settings and the list of our functions, and none has an effect but `set_config`, on these
//! settings; they are there in sessions of this surface only. Left to others: the tables (`catalogue`).

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion_pg_catalog::pg_catalog as pg;

use super::catalogue::Caller;
use super::objects::Objects;
use super::routines::Routine;
use super::set_config::SetConfig;
use super::settings::VERSION;
use super::{identify, texts};
use crate::query::functions::argument;

/// The functions of a session of `caller`.
pub fn all(caller: &Caller, routines: &Arc<Vec<Routine>>, objects: &Arc<Objects>) -> Vec<ScalarUDF> {
    let mut all = vec![
        pg::create_current_schemas_udf(),
        pg::create_pg_get_partkeydef_udf(),
        pg::create_pg_get_statisticsobjdef_columns_udf(),
        pg::create_pg_encoding_to_char_udf(),
        pg::create_pg_get_constraintdef(),
        pg::create_pg_get_partition_ancestors_udf(),
        pg::pg_get_expr_udf::create_pg_get_expr_udf(),
        pg::format_type::create_format_type_udf(),
        pg::quote_ident_udf::create_quote_ident_udf(),
        pg::quote_ident_udf::create_parse_ident_udf(),
        pg::array_bounds_udf::create_array_upper_udf(),
        pg::array_bounds_udf::create_array_lower_udf(),
    ];
    let told = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    let version = format!("PostgreSQL {VERSION} (weavergen {})", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        ("current_database", told(&caller.database)),
        ("current_schema", told(crate::query::session::SCHEMA)),
        ("session_user", told(&caller.user)),
        ("current_role", told(&caller.user)),
        ("pg_get_userbyid", told(&caller.user)),
        ("version", told(&version)),
        ("pg_client_encoding", told("UTF8")),
        ("getdatabaseencoding", told("UTF8")),
        ("pg_tablespace_location", told("")),
    ] {
        all.push(Fixed::function(name, value));
    }
    all.extend(NOTHING.iter().map(|name| Fixed::function(name, ScalarValue::Utf8(None))));
    all.extend(TRUE.iter().map(|name| Fixed::function(name, ScalarValue::Boolean(Some(true)))));
    all.extend(FALSE.iter().map(|name| Fixed::function(name, ScalarValue::Boolean(Some(false)))));
    all.extend(ZERO.iter().map(|name| Fixed::function(name, ScalarValue::Int64(Some(0)))));
    all.push(Fixed::function("pg_backend_pid", ScalarValue::Int32(Some(caller.pid))));
    all.extend(PRIVILEGES.iter().map(|name| ScalarUDF::from(MayRead { name, signature: any() })));
    all.extend(identify::all(objects, &caller.user));
    all.extend(texts::all());
    let no_time = ScalarValue::TimestampMicrosecond(None, Some("UTC".into()));
    all.extend(NO_TIME.iter().map(|name| Fixed::function(name, no_time.clone())));
    for what in [What::Arguments, What::IdentityArguments, What::Result, What::Definition] {
        all.push(ScalarUDF::from(OfRoutine { what, routines: routines.clone(), signature: any() }));
    }
    all.push(ScalarUDF::from(TableIsVisible { objects: objects.clone(), signature: any() }));
    let settings = caller.settings.all().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    all.push(ScalarUDF::from(CurrentSetting { settings: Arc::new(settings), signature: any() }));
    all.push(ScalarUDF::from(SetConfig::new(&caller.settings, &caller.wishes)));
    all
}

/// Texts about objects that there are none of: comments, indexes, rules, triggers, sequences.
const NOTHING: [&str; 16] = [
    "col_description",
    "obj_description",
    "pg_advisory_unlock_all",
    "pg_describe_object",
    "pg_get_function_sqlbody",
    "pg_get_indexdef",
    "pg_get_partition_constraintdef",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_statisticsobjdef",
    "pg_get_triggerdef",
    "pg_get_viewdef",
    "pg_relation_filepath",
    "shobj_description",
    "inet_client_addr",
    "inet_server_addr",
];

/// Whether something can be named or read: all that there is can.
const TRUE: [&str; 13] = [
    "pg_collation_is_visible",
    "pg_conversion_is_visible",
    "pg_function_is_visible",
    "pg_opclass_is_visible",
    "pg_operator_is_visible",
    "pg_opfamily_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_ts_template_is_visible",
    "pg_type_is_visible",
    "pg_has_role",
];

const FALSE: [&str; 7] = [
    "has_sequence_privilege",
    "has_tablespace_privilege",
    "pg_is_in_recovery",
    "pg_is_other_temp_schema",
    "pg_relation_is_publishable",
    "pg_relation_is_updatable",
    "row_security_active",
];

const ZERO: [&str; 13] = [
    "pg_database_size",
    "pg_indexes_size",
    "pg_my_temp_schema",
    "pg_relation_filenode",
    "pg_relation_size",
    "pg_stat_get_numscans",
    "pg_table_size",
    "pg_char_to_encoding",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "txid_current",
    "pg_current_xact_id",
    "inet_server_port",
];

/// Whether the caller may do something with an object, which is the last argument.
const PRIVILEGES: [&str; 6] = [
    "has_any_column_privilege",
    "has_column_privilege",
    "has_database_privilege",
    "has_function_privilege",
    "has_schema_privilege",
    "has_table_privilege",
];

const NO_TIME: [&str; 3] = ["pg_conf_load_time", "pg_postmaster_start_time", "pg_last_xact_replay_timestamp"];

fn any() -> Signature {
    Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Stable)
}

/// The same answer to all arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fixed {
    name: &'static str,
    value: ScalarValue,
    signature: Signature,
}

impl Fixed {
    fn function(name: &'static str, value: ScalarValue) -> ScalarUDF {
        Self { name, value, signature: any() }.into()
    }
}

impl ScalarUDFImpl for Fixed {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Arguments,
    IdentityArguments,
    Result,
    Definition,
}

/// `pg_get_function_arguments(oid)` and its like.
#[derive(Debug)]
struct OfRoutine {
    what: What,
    routines: Arc<Vec<Routine>>,
    signature: Signature,
}

// The list is the same in every session.
impl PartialEq for OfRoutine {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what
    }
}

impl Eq for OfRoutine {}

impl std::hash::Hash for OfRoutine {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.what.hash(state);
    }
}

impl ScalarUDFImpl for OfRoutine {
    fn name(&self) -> &str {
        match self.what {
            What::Arguments => "pg_get_function_arguments",
            What::IdentityArguments => "pg_get_function_identity_arguments",
            What::Result => "pg_get_function_result",
            What::Definition => "pg_get_functiondef",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(numbers) = args.args.first() else {
            return Err(argument(format!("{} takes a number", self.name())));
        };
        let numbers = cast(&numbers.to_array(args.number_rows)?, &DataType::Int64)?;
        let told = |oid: Option<i64>| {
            let oid = i32::try_from(oid?).ok()?;
            let at = self.routines.binary_search_by_key(&oid, |routine| routine.oid).ok()?;
            let routine = &self.routines[at];
            Some(match self.what {
                What::Arguments | What::IdentityArguments => routine.arguments.clone(),
                What::Result => routine.result.clone(),
                What::Definition => routine.definition(),
            })
        };
        let texts: StringArray = numbers.as_primitive::<Int64Type>().iter().map(told).collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

/// `has_table_privilege(…, privilege)` and its like.
#[derive(Debug, PartialEq, Eq, Hash)]
struct MayRead {
    name: &'static str,
    signature: Signature,
}

/// What every caller may do with everything that it sees.
const MAY: [&str; 4] = ["select", "usage", "connect", "execute"];

impl ScalarUDFImpl for MayRead {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let asked = text(&args, args.args.len().saturating_sub(1))?;
        let may = |asked: &str| {
            let mut asked = asked.split(',').map(|one| one.trim().to_ascii_lowercase());
            asked.any(|one| MAY.contains(&one.as_str()))
        };
        let may: BooleanArray = asked.as_string::<i32>().iter().map(|asked| asked.map(may)).collect();
        Ok(ColumnarValue::Array(Arc::new(may)))
    }
}

/// `pg_table_is_visible(oid)`: whether the name of a relation reaches it without a schema.
#[derive(Debug)]
struct TableIsVisible {
    objects: Arc<Objects>,
    signature: Signature,
}

// A statement has one list of objects.
impl PartialEq for TableIsVisible {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.objects, &other.objects)
    }
}

impl Eq for TableIsVisible {}

impl std::hash::Hash for TableIsVisible {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.objects).hash(state);
    }
}

impl ScalarUDFImpl for TableIsVisible {
    fn name(&self) -> &'static str {
        "pg_table_is_visible"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(numbers) = args.args.first() else {
            return Err(argument("pg_table_is_visible takes a number".to_owned()));
        };
        let numbers = cast(&numbers.to_array(args.number_rows)?, &DataType::Int64)?;
        let visible = |oid: i64| i32::try_from(oid).map_or(true, |oid| !self.objects.is_hidden(oid));
        let visible: BooleanArray = numbers.as_primitive::<Int64Type>().iter().map(|oid| oid.map(visible)).collect();
        Ok(ColumnarValue::Array(Arc::new(visible)))
    }
}

/// `current_setting(name [, missing_ok])`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentSetting {
    settings: Arc<Vec<(String, String)>>,
    signature: Signature,
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &'static str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let names = text(&args, 0)?;
        let known = |name: &str| self.settings.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut values = Vec::with_capacity(names.len());
        for name in names.as_string::<i32>() {
            match name.map(|name| (name, known(name))) {
                Some((_, Some((_, value)))) => values.push(Some(value.as_str())),
                // With a second argument, whatever it is, a setting may be missing.
                Some((name, None)) if args.args.len() < 2 && !name.contains('.') => {
                    return Err(argument(format!("there is no setting `{name}`")));
                }
                _ => values.push(None),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(values))))
    }
}

/// Argument `at` as text.
pub(super) fn text(args: &ScalarFunctionArgs, at: usize) -> Result<ArrayRef> {
    let Some(argument) = args.args.get(at) else {
        return Err(argument(format!("argument {} is missing", at + 1)));
    };
    Ok(cast(&argument.to_array(args.number_rows)?, &DataType::Utf8)?)
}
