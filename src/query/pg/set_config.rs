//! `set_config(name, value, is_local)`.
//!
//! Duty: the function, and what a statement asks by it. Guarantee: a value that SET would refuse is an error here too, and
//! nothing changes before the statement has given all its rows: a plan that is only described, or fails, sets nothing.
//! Left to others: which settings there are (`settings`), setting them (`connection`).

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{AsArray as _, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::command::Scope;
use super::functions::text;
use super::settings::Settings;
use crate::query::functions::argument;

/// Values to set by the names of their settings; `None` is the default.
type Asked = BTreeMap<String, (Option<String>, Scope)>;

/// What the running statement of a connection asks to set; shared with its plan.
#[derive(Clone, Debug, Default)]
pub struct Wishes(Arc<Mutex<Asked>>);

impl Wishes {
    /// Takes what was asked since the last time.
    pub fn take(&self) -> Vec<(String, Option<String>, Scope)> {
        let asked = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        asked.into_iter().map(|(name, (value, scope))| (name, value, scope)).collect()
    }

    fn add(&self, name: String, value: Option<String>, scope: Scope) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, (value, scope));
    }
}

/// The function.
#[derive(Debug)]
pub struct SetConfig {
    settings: Arc<Settings>,
    wishes: Wishes,
    signature: Signature,
}

impl SetConfig {
    /// For a statement that began with `settings`.
    pub fn new(settings: &Arc<Settings>, wishes: &Wishes) -> Self {
        // Volatile: planning would call it, and describing a statement plans it.
        let signature = Signature::new(TypeSignature::VariadicAny, Volatility::Volatile);
        Self { settings: settings.clone(), wishes: wishes.clone(), signature }
    }

    /// Asks for one setting. The value that it will have.
    ///
    /// Errors: what SET refuses.
    fn ask(&self, name: Option<&str>, value: Option<&str>, scope: Scope) -> Result<Option<String>> {
        let Some(name) = name else { return Err(argument("set_config takes the name of a setting")) };
        let mut tried = Settings::clone(&self.settings);
        tried.set(name, value).map_err(|problem| argument(problem.message))?;
        match tried.show(name) {
            Some(shown) => {
                self.wishes.add(name.to_ascii_lowercase(), value.map(str::to_owned), scope);
                Ok(Some(shown.to_owned()))
            }
            // One of an extension: it is taken, and nothing knows it.
            None => Ok(value.map(str::to_owned)),
        }
    }
}

// A statement has one list of wishes.
impl PartialEq for SetConfig {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.wishes.0, &other.wishes.0)
    }
}

impl Eq for SetConfig {}

impl Hash for SetConfig {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.wishes.0).hash(state);
    }
}

impl ScalarUDFImpl for SetConfig {
    fn name(&self) -> &'static str {
        "set_config"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (names, values) = (text(&args, 0)?, text(&args, 1)?);
        let local = match args.args.get(2) {
            Some(local) => Some(cast(&local.to_array(args.number_rows)?, &DataType::Boolean)?),
            None => None,
        };
        let is_local = |row: usize| {
            let local = local.as_ref().map(|local| local.as_boolean());
            local.is_some_and(|local| !arrow::array::Array::is_null(local, row) && local.value(row))
        };
        let rows = names.as_string::<i32>().iter().zip(values.as_string::<i32>()).enumerate();
        let told = rows.map(|(row, (name, value))| {
            let scope = if is_local(row) { Scope::Transaction } else { Scope::Session };
            self.ask(name, value, scope)
        });
        Ok(ColumnarValue::Array(Arc::new(told.collect::<Result<StringArray>>()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_asked_is_checked_and_kept_until_it_is_taken() {
        let (settings, wishes) = (Arc::new(Settings::new("me", Duration::from_secs(30))), Wishes::default());
        let function = SetConfig::new(&settings, &wishes);
        let ask = |name, value| function.ask(Some(name), value, Scope::Session).map_err(|error| error.to_string());
        assert_eq!(ask("statement_timeout", Some("5s")), Ok(Some("5000ms".to_owned())));
        assert_eq!(ask("TimeZone", Some("Europe/Berlin")), Ok(Some("Europe/Berlin".to_owned())));
        assert_eq!(ask("timezone", None), Ok(Some("UTC".to_owned())));
        assert_eq!(ask("app.user", Some("7")), Ok(Some("7".to_owned())));
        assert!(ask("server_version", Some("9")).is_err() && ask("no_such", Some("9")).is_err());
        assert_eq!(settings.show("statement_timeout"), Some("0"));
        let of = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned), Scope::Session);
        assert_eq!(wishes.take(), [of("statement_timeout", Some("5s")), of("timezone", None)]);
        assert!(wishes.take().is_empty());
    }
}
