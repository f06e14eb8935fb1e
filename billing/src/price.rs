//! Prices: meters, rates, and the immutable versions of the price book.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{OrgId, PriceVersion};
use crate::money::{Nano, Pico};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// Prompt tokens that were prefilled.
    InputTokens,
    /// Prompt tokens that came from the cache; they are not counted as input tokens too.
    CachedInputTokens,
    /// Generated tokens.
    OutputTokens,
    /// Calls: the fixed fee.
    Calls,
    /// Microseconds of the guest's thread CPU time, never wall time.
    ComputeMicros,
    /// Units of the sandbox's fuel, where exactly quotable metering was asked for.
    Fuel,
    /// Bytes sent to other hosts.
    EgressBytes,
}

/// A quantity on one meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageLine {
    /// The model that was used; `None` for the function and the platform itself.
    pub model: Option<String>,
    /// The meter.
    pub meter: Meter,
    /// How much: tokens, calls, microseconds, fuel or bytes.
    pub quantity: u64,
}

/// Rates of a model, per token and per call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Per prompt token.
    pub input_token: Pico,
    /// Per prompt token that came from the cache.
    pub cached_input_token: Pico,
    /// Per generated token.
    pub output_token: Pico,
    /// Per call.
    pub call: Pico,
}

/// The platform's rates for functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionRates {
    /// Per call.
    pub call: Pico,
    /// Per millisecond of thread CPU time.
    pub compute_ms: Pico,
    /// Per million units of fuel.
    #[serde(default)]
    pub fuel_million: Pico,
    /// Per megabyte (10^6 bytes) sent to other hosts.
    #[serde(default)]
    pub egress_megabyte: Pico,
}

/// What the owner of a model gets of what the platform asks for its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Royalty {
    /// The owner, who is paid.
    pub org: OrgId,
    /// In basis points of the platform's price (100 is one percent).
    pub share_bps: u32,
}

/// What the provider of the machine gets of what the platform asks. Pinned when the hold is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderShare {
    /// The provider, who is paid.
    pub org: OrgId,
    /// In basis points of the platform's price (100 is one percent).
    pub share_bps: u32,
}

/// Prices of one organisation that differ from everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// By model name.
    #[serde(default)]
    pub models: BTreeMap<String, Rates>,
    /// For functions.
    #[serde(default)]
    pub functions: Option<FunctionRates>,
}

/// One immutable version of all prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceBook {
    /// Its number. Holds and receipts name it.
    pub version: PriceVersion,
    /// When it came or comes into force, in milliseconds since 1970.
    pub effective_at_ms: u64,
    /// For models without an entry of their own.
    pub default_model: Rates,
    /// By model name.
    pub models: BTreeMap<String, Rates>,
    /// For functions.
    pub functions: FunctionRates,
    /// What model owners get, by model name.
    #[serde(default)]
    pub royalties: BTreeMap<String, Royalty>,
    /// Agreed prices, by organisation.
    #[serde(default)]
    pub overrides: BTreeMap<OrgId, Override>,
}

/// A price book to be published; the ledger gives it its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPriceBook {
    /// When it comes into force; `None` or a past time means at once.
    #[serde(default)]
    pub effective_at_ms: Option<u64>,
    /// For models without an entry of their own.
    pub default_model: Rates,
    /// By model name.
    #[serde(default)]
    pub models: BTreeMap<String, Rates>,
    /// For functions.
    pub functions: FunctionRates,
    /// What model owners get, by model name.
    #[serde(default)]
    pub royalties: BTreeMap<String, Royalty>,
    /// Agreed prices, by organisation.
    #[serde(default)]
    pub overrides: BTreeMap<OrgId, Override>,
}

/// What a function's author adds to the platform's prices. Pinned when the hold is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorPrice {
    /// The author, who is paid.
    pub org: OrgId,
    /// Per call.
    pub call_fee: Nano,
    /// On the function's compute cost, in basis points (100 is one percent).
    pub compute_markup_bps: u32,
}

impl PriceBook {
    /// Version 1, which every new ledger starts with.
    #[must_use]
    pub fn initial() -> PriceBook {
        PriceBook {
            version: PriceVersion(1),
            effective_at_ms: 0,
            default_model: Rates {
                input_token: Pico::from_pico(100_000),
                cached_input_token: Pico::from_pico(50_000),
                output_token: Pico::from_pico(400_000),
                call: Pico::ZERO,
            },
            models: BTreeMap::new(),
            functions: FunctionRates {
                call: Pico::from_pico(1_000_000),
                compute_ms: Pico::from_pico(100_000),
                fuel_million: Pico::from_pico(100_000),
                egress_megabyte: Pico::from_pico(10_000_000),
            },
            royalties: BTreeMap::new(),
            overrides: BTreeMap::new(),
        }
    }

    /// The rates of a model for an organisation: agreed ones, else the model's, else the default.
    #[must_use]
    pub fn rates(&self, org: &OrgId, model: &str) -> &Rates {
        self.overrides
            .get(org)
            .and_then(|agreed| agreed.models.get(model))
            .or_else(|| self.models.get(model))
            .unwrap_or(&self.default_model)
    }

    /// The rates of functions for an organisation: agreed ones, else everybody's.
    #[must_use]
    pub fn function_rates(&self, org: &OrgId) -> &FunctionRates {
        let agreed = self.overrides.get(org).and_then(|agreed| agreed.functions.as_ref());
        agreed.unwrap_or(&self.functions)
    }
}

impl NewPriceBook {
    /// The book as published at `now_ms` under `version`.
    pub(crate) fn published(self, version: PriceVersion, now_ms: u64) -> PriceBook {
        PriceBook {
            version,
            effective_at_ms: self.effective_at_ms.unwrap_or(now_ms).max(now_ms),
            default_model: self.default_model,
            models: self.models,
            functions: self.functions,
            royalties: self.royalties,
            overrides: self.overrides,
        }
    }
}

/// Of several books the one in force: the latest to become effective, then the latest version.
pub(crate) fn in_force<'a>(
    books: impl IntoIterator<Item = &'a Arc<PriceBook>>,
    now_ms: u64,
) -> Option<Arc<PriceBook>> {
    books
        .into_iter()
        .filter(|book| book.effective_at_ms <= now_ms)
        .max_by_key(|book| (book.effective_at_ms, book.version))
        .map(Arc::clone)
}
