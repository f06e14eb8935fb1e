use std::fmt;
use std::str::FromStr;

use crate::Name;

/// An organisation: the one that pays, and the owner of functions and keys.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Org {
    /// Opaque and stable: `org_` and a time-ordered id. Money is booked under it.
    pub id: String,
    /// The unique name, as it stands in `/f/{owner}/…`.
    pub name: String,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// What a key may do beyond calling models and functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything within its organisation, keys included.
    Owner,
    /// Deploys and inspects functions.
    Developer,
    /// Calls only.
    Consumer,
}

impl Role {
    /// The role as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Developer => "developer",
            Role::Consumer => "consumer",
        }
    }

    /// May create, list and revoke keys.
    pub fn manages_keys(self) -> bool {
        matches!(self, Role::Owner)
    }

    /// May deploy, list and delete functions and read their logs.
    pub fn manages_functions(self) -> bool {
        matches!(self, Role::Owner | Role::Developer)
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        match text {
            "owner" => Ok(Role::Owner),
            "developer" => Ok(Role::Developer),
            "consumer" => Ok(Role::Consumer),
            _ => Err(UnknownRole),
        }
    }
}

/// A role is one of owner, developer and consumer.
#[derive(Debug, thiserror::Error)]
#[error("a role is one of owner, developer, consumer")]
pub struct UnknownRole;

/// An API key as lists show it: never the secret.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Key {
    /// Opaque and stable: `key_` and a time-ordered id.
    pub id: String,
    /// The organisation it belongs to.
    pub org_id: String,
    /// A person's name for it; it need not be unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Its first characters, so that a person recognises it.
    pub prefix: String,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last seen, to the minute; `None` before its first use.
    pub last_used_at_ms: Option<u64>,
    /// When it was revoked; such a key opens nothing.
    pub revoked_at_ms: Option<u64>,
}

/// The SHA-256 of a key, under which it is stored and looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub(crate) [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// A key in clear. It exists only in the answer that creates it; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Secret(text)
    }

    /// The key itself, for the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Who is calling: a valid key and its organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The paying organisation.
    pub org: Org,
    /// The key that was presented.
    pub key: Key,
}

/// A request for a new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The organisation's id.
    pub org_id: String,
    /// A person's name for the key, at most 80 characters.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// A function: a name in an organisation, with numbered versions.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Function {
    /// The id of the organisation that owns it.
    pub org_id: String,
    /// The name of that organisation.
    pub owner: String,
    /// Unique within its organisation.
    pub name: String,
    /// The version behind the alias `live`; `None` when nothing was activated yet.
    pub live: Option<u64>,
    /// When its first version was published, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// One immutable version of a function.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// 1, 2, 3… within its function, never used twice.
    pub number: u64,
    /// SHA-256 of the component, in hex: its file name among the artifacts.
    pub digest: String,
    /// The component's size in bytes.
    pub size_bytes: u64,
    /// The manifest as it was uploaded, in TOML.
    pub manifest: String,
    /// When it was published, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// A version to be published.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// The owner's id.
    pub org_id: String,
    /// The function's name; the function is created with its first version.
    pub function: Name,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// The component's size in bytes.
    pub size_bytes: u64,
    /// The manifest in TOML.
    pub manifest: String,
    /// Whether `live` points to it from the same transaction on.
    pub activate: bool,
}

/// A model that the operator offers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Model {
    /// The unique name under which requests ask for it.
    pub name: String,
    /// Where it is loaded from: a path.
    pub source: String,
    /// SHA-256 over its files, in hex.
    pub digest: String,
    /// `generation` or `embedding`.
    pub kind: String,
    /// When it was added, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// A model to be added.
#[derive(Clone, Debug)]
pub struct NewModel {
    /// The unique name, 1 to 128 characters.
    pub name: String,
    /// Where it is loaded from.
    pub source: String,
    /// SHA-256 over its files, in hex.
    pub digest: String,
    /// `generation` or `embedding`.
    pub kind: String,
}

/// The value of a secret as it is kept: sealed under a key that the catalog does not know.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// A secret of an organisation, for its functions.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SealedSecret {
    /// Unique within its organisation: the environment variable that functions find it in.
    pub name: String,
    /// The value, which lists do not show.
    #[serde(skip)]
    pub sealed: Sealed,
    /// When it was first set, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When its value was last set, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// A secret to be set, whether it is there already or not.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// The organisation's id.
    pub org_id: String,
    /// The name, as [`crate::check_secret_name`] allows it.
    pub name: String,
    /// The value.
    pub sealed: Sealed,
}
