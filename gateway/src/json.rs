//! Reading JSON bodies field by field, so that every refusal names its field.

use std::ops::RangeInclusive;

use bytes::Bytes;
use emberbox_billing::Nano;
use serde_json::{Map, Value};

use crate::errors::ApiError;
use crate::invoke;

/// A JSON object and where it stands in the request. Unknown fields are ignored, as the SDKs
/// expect; `null` is the same as absent.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a> {
    fields: &'a Map<String, Value>,
    path: Path<'a>,
}

/// The name of an object inside the request, such as `messages[3]`; empty for the request itself.
#[derive(Clone, Copy)]
enum Path<'a> {
    Whole,
    Item(&'a str, usize),
    Field(&'a str),
}

/// Reads a body as JSON.
pub(crate) fn parse(body: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid("the body is not JSON", &error))
}

impl<'a> Object<'a> {
    /// The request itself.
    pub(crate) fn of(value: &'a Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Object { fields, path: Path::Whole }),
            _ => Err(ApiError::invalid("the body", &"must be a JSON object")),
        }
    }

    /// One item of a list named `list`.
    pub(crate) fn item(value: &'a Value, list: &'a str, index: usize) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Object { fields, path: Path::Item(list, index) }),
            _ => Err(ApiError::field(&format!("{list}[{index}]"), "must be an object")),
        }
    }

    /// A field as it is; `None` when absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// An object in a field.
    pub(crate) fn object(&self, name: &'a str) -> Result<Option<Object<'a>>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Object { fields, path: Path::Field(name) })),
            Some(_) => Err(self.wrong(name, "must be an object")),
        }
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "must be a string")),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name)?.ok_or_else(|| self.wrong(name, "is required"))
    }

    /// The most that a call may cost: decimal credits in a string, since a number in JSON may have
    /// been through a float.
    pub(crate) fn max_cost(&self) -> Result<Option<Nano>, ApiError> {
        self.text("max_cost")?.map(|text| invoke::max_cost("max_cost", text)).transpose()
    }

    /// True or false; absent is false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name, "must be true or false")),
        }
    }

    /// A whole number within a range.
    pub(crate) fn whole<T>(
        &self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ApiError>
    where
        T: TryFrom<u64> + PartialOrd + std::fmt::Display,
    {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (from, to) = (range.start(), range.end());
                Err(self.wrong(name, &format!("must be a whole number from {from} to {to}")))
            }
        }
    }

    /// A number within a range.
    pub(crate) fn real(
        &self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (from, to) = (range.start(), range.end());
                Err(self.wrong(name, &format!("must be a number from {from} to {to}")))
            }
        }
    }

    /// A refusal of one field, with its full name.
    pub(crate) fn wrong(&self, name: &str, reason: &str) -> ApiError {
        let param = match self.path {
            Path::Whole => name.to_owned(),
            Path::Field(field) => format!("{field}.{name}"),
            Path::Item(list, index) => format!("{list}[{index}].{name}"),
        };
        ApiError::Invalid { message: format!("{param} {reason}"), param: Some(param) }
    }
}
