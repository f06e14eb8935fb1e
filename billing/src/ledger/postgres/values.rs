//! How the ledger's values stand in columns.

use std::error::Error;

use bytes::BytesMut;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use uuid::Uuid;

use super::fault::Fault;
use crate::capture::Ending;
use crate::ids::LotId;
use crate::money::Nano;
use crate::price::Meter;
use crate::report::Role;

/// An id in a column of type `uuid`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Id(pub(super) Uuid);

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Id, Box<dyn Error + Sync + Send>> {
        Ok(Id(Uuid::from_slice(raw)?))
    }

    accepts!(UUID);
}

/// Numbers and times keep their bits: the columns are signed, the values are not.
pub(super) fn signed(value: u64) -> i64 {
    value.cast_signed()
}

/// As [`signed`], the other way.
pub(super) fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}

/// Quantities stop at the largest signed number: their sums must not turn negative.
pub(super) fn clamped(quantity: u64) -> i64 {
    i64::try_from(quantity).unwrap_or(i64::MAX)
}

/// A number that a smaller column has room for.
pub(super) fn narrow<N: TryFrom<i64>>(value: i64) -> Result<N, Fault> {
    N::try_from(value).ok().ok_or_else(|| Fault::damaged(format!("{value} is out of range")))
}

/// A value as one JSON text.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::damaged(error.to_string()))
}

/// A value from its JSON text.
pub(super) fn of_json<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::damaged(format!("`{text}`: {error}")))
}

/// A line of usage: the model's name or 0, the meter, the quantity.
#[derive(Serialize, Deserialize)]
pub(super) struct UsageCode(pub(super) i32, pub(super) u8, pub(super) u64);

/// A lot of a hold: its number, and what is set aside in it.
#[derive(Serialize, Deserialize)]
struct LotCode(u64, i64);

/// The lots of a hold; nothing where there are none.
pub(super) fn of_lots(lots: &[(LotId, Nano)]) -> Result<Option<String>, Fault> {
    let codes: Vec<LotCode> =
        lots.iter().map(|(lot, amount)| LotCode(lot.0, amount.as_nano())).collect();
    (!codes.is_empty()).then(|| json(&codes)).transpose()
}

pub(super) fn to_lots(text: Option<&str>) -> Result<Vec<(LotId, Nano)>, Fault> {
    let codes: Vec<LotCode> = text.map(of_json).transpose()?.unwrap_or_default();
    Ok(codes.into_iter().map(|code| (LotId(code.0), Nano::from_nano(code.1))).collect())
}

/// Meters, endings and roles by their numbers in the store, which are never reused.
const METERS: [(u8, Meter); 7] = [
    (1, Meter::InputTokens),
    (2, Meter::CachedInputTokens),
    (3, Meter::OutputTokens),
    (4, Meter::Calls),
    (5, Meter::ComputeMicros),
    (6, Meter::Fuel),
    (7, Meter::EgressBytes),
];
const ENDINGS: [(i16, Ending); 6] = [
    (1, Ending::Normal),
    (2, Ending::ClientLeft),
    (3, Ending::Deadline),
    (4, Ending::Budget),
    (5, Ending::GuestTrap),
    (6, Ending::PlatformFault),
];
const ROLES: [(i16, Role); 3] = [(1, Role::Author), (2, Role::ModelOwner), (3, Role::Provider)];

/// A value that the store knows by a number.
pub(super) trait Coded: Copy + PartialEq + 'static {
    type Code: Copy + PartialEq + Into<i64> + 'static;
    const CODES: &'static [(Self::Code, Self)];

    fn of_code(code: Self::Code) -> Result<Self, Fault> {
        let found = Self::CODES.iter().find(|(known, _)| *known == code);
        let number: i64 = code.into();
        found.map(|(_, value)| *value).ok_or_else(|| Fault::damaged(format!("no code {number}")))
    }

    fn code(self) -> Result<Self::Code, Fault> {
        let found = Self::CODES.iter().find(|(_, value)| *value == self);
        found.map(|(code, _)| *code).ok_or_else(|| Fault::damaged("a value without a code"))
    }
}

impl Coded for Meter {
    type Code = u8;
    const CODES: &'static [(u8, Meter)] = &METERS;
}

impl Coded for Ending {
    type Code = i16;
    const CODES: &'static [(i16, Ending)] = &ENDINGS;
}

impl Coded for Role {
    type Code = i16;
    const CODES: &'static [(i16, Role)] = &ROLES;
}
