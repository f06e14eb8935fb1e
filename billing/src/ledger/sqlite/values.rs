//! How our types are written in SQLite's.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::capture::Ending;
use crate::ids::{CallId, KeyId, OrgId, PriceVersion};
use crate::money::Nano;
use crate::price::Meter;
use crate::report::Role;

/// A value that is kept as JSON text.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        json_text(&self.0).map(ToSqlOutput::from)
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Json<T>> {
        serde_json::from_str(value.as_str()?)
            .map(Json)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// A value as JSON text.
pub(super) fn json_text(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A row has what the ledger never writes.
pub(super) fn unreadable(reason: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, reason.into())
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

/// The nearest number that SQLite has: quantities that nobody pays for may be absurd.
pub(super) fn saturated(quantity: u64) -> i64 {
    i64::try_from(quantity).unwrap_or(i64::MAX)
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

impl FromSql for CallId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<CallId> {
        Uuid::from_slice(value.as_blob()?)
            .map(CallId::from_uuid)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

macro_rules! name_as_text {
    ($type:ty) => {
        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$type> {
                value.as_str().map(<$type>::new)
            }
        }
    };
}

name_as_text!(OrgId);
name_as_text!(KeyId);

const METERS: [Meter; 7] = [
    Meter::InputTokens,
    Meter::CachedInputTokens,
    Meter::OutputTokens,
    Meter::Calls,
    Meter::ComputeMicros,
    Meter::Fuel,
    Meter::EgressBytes,
];

/// The number of a meter; never reused.
pub(super) const fn meter_code(meter: Meter) -> u64 {
    match meter {
        Meter::InputTokens => 1,
        Meter::CachedInputTokens => 2,
        Meter::OutputTokens => 3,
        Meter::Calls => 4,
        Meter::ComputeMicros => 5,
        Meter::Fuel => 6,
        Meter::EgressBytes => 7,
    }
}

/// The meter of a number.
pub(super) fn meter(code: u64) -> Option<Meter> {
    METERS.into_iter().find(|meter| meter_code(*meter) == code)
}

const ENDINGS: [Ending; 6] = [
    Ending::Normal,
    Ending::ClientLeft,
    Ending::Deadline,
    Ending::Budget,
    Ending::GuestTrap,
    Ending::PlatformFault,
];

/// The number of an ending; never reused.
pub(super) const fn ending_code(ending: Ending) -> i64 {
    match ending {
        Ending::Normal => 1,
        Ending::ClientLeft => 2,
        Ending::Deadline => 3,
        Ending::Budget => 4,
        Ending::GuestTrap => 5,
        Ending::PlatformFault => 6,
    }
}

/// The ending of a number.
pub(super) fn ending(code: i64) -> Option<Ending> {
    ENDINGS.into_iter().find(|ending| ending_code(*ending) == code)
}

const ROLES: [Role; 3] = [Role::Author, Role::ModelOwner, Role::Provider];

/// The number of a role; never reused.
pub(super) const fn role_code(role: Role) -> i64 {
    match role {
        Role::Author => 1,
        Role::ModelOwner => 2,
        Role::Provider => 3,
    }
}

/// The role of a number.
pub(super) fn role(code: i64) -> Option<Role> {
    ROLES.into_iter().find(|role| role_code(*role) == code)
}
