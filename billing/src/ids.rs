//! Names of things: organisations, keys, calls, orders, lots, budgets, price versions.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::BillingError;

/// The most bytes an organisation, key, model, owner or function name may have here.
pub const NAME_BYTES_MAX: usize = 256;
/// The most characters an operation id may have.
pub const OP_CHARS_MAX: usize = 128;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Wraps the name. Operations refuse an empty or overlong one.
            #[must_use]
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// An organisation: it pays, and it may be paid as an author.
    OrgId
);
name!(
    /// The id of the API key that made a call (never the key itself).
    KeyId
);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Uuid);

        impl $type {
            /// Wraps an id that was given out before.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The id as a UUID (version 7: ordered by time).
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $type {
            type Err = BillingError;

            fn from_str(text: &str) -> Result<Self, BillingError> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|error| BillingError::Invalid(format!("not an id: {error}")))
            }
        }

        impl TryFrom<String> for $type {
            type Error = BillingError;

            fn try_from(text: String) -> Result<Self, BillingError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.0.to_string()
            }
        }
    };
}

uuid_id!(
    /// A call: its hold, its capture and its receipt have this one id, which the caller chooses
    /// and which is unique within the paying organisation.
    CallId
);
uuid_id!(
    /// A message in the outbox.
    MessageId
);

impl CallId {
    /// A new id, ordered by time: the ledger's index stays dense.
    #[must_use]
    pub fn generate() -> CallId {
        CallId(Uuid::now_v7())
    }
}

/// An idempotency id. The same id with the same payload gets the same answer, forever.
///
/// Ids that grow with time (such as [`OpId::generate`] makes) keep the ledger's index dense.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OpId(String);

impl OpId {
    /// Takes an id of 1 to [`OP_CHARS_MAX`] characters.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] where it is empty, too long or has control characters.
    pub fn new(id: impl Into<String>) -> Result<OpId, BillingError> {
        let id = id.into();
        if id.is_empty() || id.chars().count() > OP_CHARS_MAX || id.chars().any(char::is_control) {
            let reason = format!("an operation id has 1 to {OP_CHARS_MAX} printable characters");
            return Err(BillingError::Invalid(reason));
        }
        Ok(OpId(id))
    }

    /// A new id, ordered by time.
    #[must_use]
    pub fn generate() -> OpId {
        OpId(Uuid::now_v7().to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OpId {
    type Error = BillingError;

    fn try_from(id: String) -> Result<OpId, BillingError> {
        OpId::new(id)
    }
}

impl From<OpId> for String {
    fn from(id: OpId) -> String {
        id.0
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of an immutable price book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceVersion(pub u64);

impl fmt::Display for PriceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A lot: credits that were granted together.
    LotId
);
number_id!(
    /// A budget.
    BudgetId
);
