//! What a call must have cost, computed once more from the JSON of its price book: for the auditors
//! of both stores, and without any of the rules' code.
//!
//! The table of endings stands here a second time, on purpose:
//!
//! | ending | direct model call | function call |
//! |---|---|---|
//! | 1 normal, 2 client left | everything | everything, with the author's fee and markup |
//! | 3 deadline, 4 budget | everything | everything, with the author's fee |
//! | 5 guest trap | everything | everything but calls |
//! | 6 platform fault | tokens, if some came out | everything but calls |

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

const INPUT_TOKENS: i64 = 1;
const CACHED_INPUT_TOKENS: i64 = 2;
const OUTPUT_TOKENS: i64 = 3;
const CALLS: i64 = 4;
const COMPUTE_MICROS: i64 = 5;
const FUEL: i64 = 6;
const EGRESS_BYTES: i64 = 7;

/// Ten-millionths of a pico-credit: fine enough for a basis point of a pico-credit for a
/// microsecond of a millisecond.
const PER_PICO: u128 = 10_000_000;
const PER_NANO: u128 = 1_000 * PER_PICO;

type Rates = HashMap<String, String>;

/// A price book, as its JSON has it.
#[derive(Debug, Deserialize)]
pub(super) struct Book {
    default_model: Rates,
    models: HashMap<String, Rates>,
    functions: Rates,
    #[serde(default)]
    overrides: HashMap<String, Agreed>,
}

/// Parts of a subject's JSON.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Subject {
    Model(IgnoredAny),
    Function(IgnoredAny),
}

/// Whether the subject of a call is a model, from its JSON; else it is a function.
pub(super) fn is_model(subject: &str) -> Result<bool, String> {
    let read = serde_json::from_str(subject)
        .map_err(|error| format!("its subject cannot be read: {error}"))?;
    Ok(matches!(read, Subject::Model(_)))
}

#[derive(Debug, Deserialize)]
struct Agreed {
    #[serde(default)]
    models: HashMap<String, Rates>,
    #[serde(default)]
    functions: Option<Rates>,
}

/// The pinned terms that change what the payer pays.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Pinned {
    #[serde(default)]
    author: Option<Author>,
}

#[derive(Clone, Debug, Deserialize)]
struct Author {
    org: String,
    call_fee: String,
    compute_markup_bps: u32,
}

/// A call that was charged.
pub(super) struct Charged<'a> {
    pub(super) org: &'a str,
    pub(super) is_model: bool,
    pub(super) ending: i64,
    pub(super) usage: &'a [(i64, i64, u64)],
    pub(super) pinned: &'a Pinned,
    pub(super) held: i128,
}

impl Book {
    /// What the call costs in nano-credits, at most what was held.
    pub(super) fn cost(
        &self,
        call: &Charged<'_>,
        names: &HashMap<i64, String>,
    ) -> Result<i128, String> {
        let has_output =
            call.usage.iter().any(|(_, meter, quantity)| *meter == OUTPUT_TOKENS && *quantity > 0);
        let (with_calls, with_fee, with_markup) = match (call.is_model, call.ending) {
            (_, 1 | 2) => (true, true, true),
            (_, 3 | 4) => (true, true, false),
            (true, 5) => (true, false, false),
            (true, 6) if !has_output => return Ok(0),
            (true, 6) | (false, 5 | 6) => (false, false, false),
            (_, ending) => return Err(format!("its ending is {ending}")),
        };
        let author = call.pinned.author.as_ref().filter(|author| author.org != call.org);
        let mut sum = 0_u128;
        for (model, meter, quantity) in call.usage {
            if *meter == CALLS && !with_calls {
                continue;
            }
            let model = match model {
                0 => None,
                model => Some(names.get(model).ok_or("a model of its usage has no name")?),
            };
            let price = self.price(call.org, model, (*meter, *quantity))?;
            let added = match (model, *meter, author) {
                (None, CALLS, Some(author)) if with_fee => {
                    let fee = decimal(&author.call_fee, 9)?;
                    product(&[fee, u128::from(*quantity), PER_NANO])?
                }
                (None, COMPUTE_MICROS | FUEL, Some(author)) if with_markup => {
                    let points = u128::from(author.compute_markup_bps);
                    product(&[price, points])?.checked_div(10_000).unwrap_or(0)
                }
                _ => 0,
            };
            sum = sum
                .checked_add(price)
                .and_then(|sum| sum.checked_add(added))
                .ok_or("its cost does not fit")?;
        }
        let nano = i128::try_from(sum.div_ceil(PER_NANO)).map_err(|error| error.to_string())?;
        Ok(nano.min(call.held))
    }

    /// What the platform asks for a quantity, in ten-millionths of a pico-credit.
    fn price(
        &self,
        org: &str,
        model: Option<&String>,
        (meter, quantity): (i64, u64),
    ) -> Result<u128, String> {
        let agreed = self.overrides.get(org);
        let rates = match model {
            Some(model) => agreed
                .and_then(|agreed| agreed.models.get(model))
                .or_else(|| self.models.get(model))
                .unwrap_or(&self.default_model),
            None => agreed.and_then(|agreed| agreed.functions.as_ref()).unwrap_or(&self.functions),
        };
        let (rate, scale) = match (meter, model.is_some()) {
            (INPUT_TOKENS, true) => ("input_token", PER_PICO),
            (CACHED_INPUT_TOKENS, true) => ("cached_input_token", PER_PICO),
            (OUTPUT_TOKENS, true) => ("output_token", PER_PICO),
            (CALLS, _) => ("call", PER_PICO),
            (COMPUTE_MICROS, false) => ("compute_ms", PER_PICO / 1_000),
            (FUEL, false) => ("fuel_million", PER_PICO / 1_000_000),
            (EGRESS_BYTES, false) => ("egress_megabyte", PER_PICO / 1_000_000),
            (meter, _) => return Err(format!("its usage has meter {meter} in the wrong place")),
        };
        let rate = rates.get(rate).map_or(Ok(0), |rate| decimal(rate, 12))?;
        product(&[u128::from(quantity), rate, scale])
    }
}

fn product(factors: &[u128]) -> Result<u128, String> {
    let product = factors.iter().try_fold(1_u128, |product, factor| product.checked_mul(*factor));
    product.ok_or_else(|| "its cost does not fit".to_owned())
}

/// A decimal number in units of its last decimal: with 9 decimals, `0.5` is 500,000,000.
pub(super) fn decimal(text: &str, decimals: usize) -> Result<u128, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction:0<decimals$}");
    let fits = fraction.len() <= decimals && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten().ok_or_else(|| format!("`{text}` is no amount"))
}
