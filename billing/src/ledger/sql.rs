//! How our types are written in SQLite's.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::hold::HoldEnd;
use crate::ids::{HoldId, KeyId, OrgId, PriceVersion, ReceiptId};
use crate::money::Nano;

/// A value that is kept as JSON text.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let json = serde_json::to_string(&self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::from(json))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Json<T>> {
        serde_json::from_str(value.as_str()?)
            .map(Json)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// An unsigned number; SQLite's are signed.
pub(super) struct Unsigned(pub(super) u64);

impl ToSql for Unsigned {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let signed = i64::try_from(self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::from(signed))
    }
}

impl FromSql for Unsigned {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Unsigned> {
        let signed = value.as_i64()?;
        u64::try_from(signed).map(Unsigned).map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

impl ToSql for Nano {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_nano()))
    }
}

impl FromSql for Nano {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Nano> {
        value.as_i64().map(Nano::from_nano)
    }
}

impl ToSql for PriceVersion {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let signed = i64::try_from(self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::from(signed))
    }
}

impl FromSql for PriceVersion {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<PriceVersion> {
        Unsigned::column_result(value).map(|version| PriceVersion(version.0))
    }
}

macro_rules! id_as_blob {
    ($type:ty) => {
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.as_uuid().as_bytes().to_vec()))
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$type> {
                Uuid::from_slice(value.as_blob()?)
                    .map(<$type>::from_uuid)
                    .map_err(|error| FromSqlError::Other(Box::new(error)))
            }
        }
    };
}

id_as_blob!(HoldId);
id_as_blob!(ReceiptId);

macro_rules! name_as_text {
    ($type:ty) => {
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.as_str()))
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$type> {
                value.as_str().map(<$type>::new)
            }
        }
    };
}

name_as_text!(OrgId);
name_as_text!(KeyId);

/// The number of a hold's state; an open hold has 0.
pub(super) const fn state_code(end: HoldEnd) -> i64 {
    match end {
        HoldEnd::Captured => 1,
        HoldEnd::Voided => 2,
        HoldEnd::Expired => 3,
        HoldEnd::Restarted => 4,
    }
}

/// The state of a number; `None` for an open hold.
pub(super) const fn state_end(code: i64) -> Option<HoldEnd> {
    match code {
        1 => Some(HoldEnd::Captured),
        2 => Some(HoldEnd::Voided),
        3 => Some(HoldEnd::Expired),
        4 => Some(HoldEnd::Restarted),
        _ => None,
    }
}
