//! From usage to money: what an ending pays, the exact charge, and who gets which part.

use serde::{Deserialize, Serialize};

use crate::BillingError;
use crate::capture::{CaptureRequest, Ending};
use crate::hold::{HoldTerms, Subject};
use crate::ids::OrgId;
use crate::money::{Nano, Pico};
use crate::price::{AuthorPrice, Meter, PriceBook, UsageLine};

/// The most usage lines of one call.
pub const USAGE_LINES_MAX: usize = 1000;

/// Sums are exact in this unit: a pico-credit divided by microseconds per millisecond and by
/// basis points, so that neither compute time nor a markup is rounded on its own.
const ATOMS_PER_PICO: u128 = 1000 * BPS_PER_WHOLE;
const ATOMS_PER_NANO: u128 = 1000 * ATOMS_PER_PICO;
const ATOMS_PER_PICO_MS_MICRO: u128 = BPS_PER_WHOLE;
const BPS_PER_WHOLE: u128 = 10_000;

/// Who is paid a part of a charge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The platform.
    Platform,
    /// The function's author.
    Author(OrgId),
    /// What rounding the parts down leaves: at most two nano-credits.
    Rounding,
}

/// What one party gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Who.
    pub party: Party,
    /// How much; never zero in a charge or receipt.
    pub amount: Nano,
}

/// The price of a call and its division. The parts sum to the total exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The exact sum of quantity times rate, rounded up once to a nano-credit.
    pub total: Nano,
    /// Each party's exact part rounded down, and the residue.
    pub parts: Vec<Part>,
}

/// How much of the author's price a charge includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markup {
    /// The call fee and the markup on compute.
    Full,
    /// The call fee only.
    CallFeeOnly,
    /// Neither.
    None,
}

/// What an ending leaves to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payable {
    /// The usage lines that are paid.
    pub lines: Vec<UsageLine>,
    /// The author's share.
    pub markup: Markup,
}

/// The table of endings: which usage lines are paid, and how much of the author's price.
///
/// | ending | direct model call | function call |
/// |---|---|---|
/// | normal, client left | all lines | all lines, full markup |
/// | deadline, budget | all lines | all lines, no markup on compute |
/// | guest trap | all lines | compute and tokens, no call fee, no author's price |
/// | platform fault | tokens, if any output was delivered | compute and tokens, no author's price |
///
/// The caller reports as usage only what was prefilled and delivered. For a platform fault in a
/// function of which no byte was delivered it reports nothing, or voids the hold.
#[must_use]
pub fn payable(subject: &Subject, ending: Ending, usage: &[UsageLine]) -> Payable {
    let all = || usage.to_vec();
    let without_calls =
        || usage.iter().filter(|line| line.meter != Meter::Calls).cloned().collect::<Vec<_>>();
    let (lines, markup) = match (ending, subject) {
        (Ending::Normal | Ending::ClientLeft, _) => (all(), Markup::Full),
        (Ending::Deadline | Ending::Budget, _) => (all(), Markup::CallFeeOnly),
        (Ending::GuestTrap, Subject::Model(_)) => (all(), Markup::None),
        (Ending::GuestTrap | Ending::PlatformFault, Subject::Function { .. }) => {
            (without_calls(), Markup::None)
        }
        (Ending::PlatformFault, Subject::Model(_)) => {
            let delivered =
                usage.iter().any(|line| line.meter == Meter::OutputTokens && line.quantity > 0);
            (if delivered { without_calls() } else { Vec::new() }, Markup::None)
        }
    };
    Payable { lines, markup }
}

impl PriceBook {
    /// Prices usage lines exactly, and rounds up once. With `full_markup` false the author gets
    /// the call fee only; with no `author` nothing.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] where a line has a meter that its subject lacks (compute of a
    /// model, tokens without a model), there are more than [`USAGE_LINES_MAX`], or the sum does
    /// not fit a [`Nano`].
    pub fn charge(
        &self,
        lines: &[UsageLine],
        author: Option<&AuthorPrice>,
        full_markup: bool,
    ) -> Result<Charge, BillingError> {
        if lines.len() > USAGE_LINES_MAX {
            let reason = format!("usage: more than {USAGE_LINES_MAX} lines");
            return Err(BillingError::Invalid(reason));
        }
        let mut platform = 0_u128;
        let mut markup = 0_u128;
        for line in lines {
            platform = add(platform, self.line_atoms(line)?)?;
            if let Some(author) = author {
                markup = add(markup, self.author_atoms(line, author, full_markup)?)?;
            }
        }
        Charge::from_atoms(platform, markup, author)
    }

    /// What the platform asks for a line.
    fn line_atoms(&self, line: &UsageLine) -> Result<u128, BillingError> {
        let rate = match (&line.model, line.meter) {
            (Some(model), Meter::InputTokens) => self.rates(model).input_token,
            (Some(model), Meter::CachedInputTokens) => self.rates(model).cached_input_token,
            (Some(model), Meter::OutputTokens) => self.rates(model).output_token,
            (Some(model), Meter::Calls) => self.rates(model).call,
            (None, Meter::Calls) => self.functions.call,
            (None, Meter::ComputeMicros) => {
                let rate = self.functions.compute_ms;
                return quantity_times_rate(line.quantity, rate, ATOMS_PER_PICO_MS_MICRO);
            }
            (Some(_), Meter::ComputeMicros) => {
                return Err(misplaced("compute time belongs to a function, not to a model"));
            }
            (None, _) => return Err(misplaced("tokens belong to a model")),
        };
        quantity_times_rate(line.quantity, rate, ATOMS_PER_PICO)
    }

    /// What the author asks on top of it.
    fn author_atoms(
        &self,
        line: &UsageLine,
        author: &AuthorPrice,
        full_markup: bool,
    ) -> Result<u128, BillingError> {
        let atoms = match (&line.model, line.meter) {
            (None, Meter::Calls) => u128::try_from(author.call_fee.as_nano())
                .ok()
                .ok_or_else(|| BillingError::Invalid("author: a negative call fee".to_owned()))?
                .checked_mul(u128::from(line.quantity))
                .and_then(|nano| nano.checked_mul(ATOMS_PER_NANO)),
            (None, Meter::ComputeMicros) if full_markup => {
                // One pico-millisecond is 1000 pico-microseconds of 10,000 basis points each, so
                // a basis point of a pico-microsecond is exactly one atom.
                u128::from(line.quantity)
                    .checked_mul(u128::from(self.functions.compute_ms.as_pico()))
                    .and_then(|product| product.checked_mul(u128::from(author.compute_markup_bps)))
            }
            _ => Some(0),
        };
        atoms.ok_or_else(too_large)
    }
}

/// The charge of a call: by the table of endings, with the pinned prices, at most the hold.
///
/// An organisation that calls its own function owes itself nothing: the author's price is left
/// out.
pub(crate) fn price_capture(
    book: &PriceBook,
    held: &HoldTerms,
    capture: &CaptureRequest,
) -> Result<Charge, BillingError> {
    // A line that cannot be priced is refused even where this ending would not pay it.
    book.charge(&capture.usage, None, true)?;
    let payable = payable(&held.subject, capture.ending, &capture.usage);
    let author = held
        .author
        .as_ref()
        .filter(|author| author.org != held.org && payable.markup != Markup::None);
    let charge = book.charge(&payable.lines, author, payable.markup == Markup::Full)?;
    Ok(charge.at_most(held.amount))
}

impl Charge {
    /// The charge, or `limit` where it is more; then the parties share in proportion, by the
    /// largest remainder, the platform first in a tie.
    #[must_use]
    pub fn at_most(self, limit: Nano) -> Charge {
        if self.total <= limit {
            return self;
        }
        let weights: Vec<u128> = self
            .parts
            .iter()
            .map(|part| u128::try_from(part.amount.as_nano()).unwrap_or(0))
            .collect();
        let shares = split(u128::try_from(limit.as_nano()).unwrap_or(0), &weights);
        let parts = self.parts.into_iter().zip(shares).filter_map(|(part, share)| {
            let amount = i64::try_from(share).ok().map(Nano::from_nano)?;
            (amount > Nano::ZERO).then_some(Part { amount, ..part })
        });
        Charge { total: limit, parts: parts.collect() }
    }

    fn from_atoms(
        platform: u128,
        markup: u128,
        author: Option<&AuthorPrice>,
    ) -> Result<Charge, BillingError> {
        let total = nano(add(platform, markup)?.div_ceil(ATOMS_PER_NANO))?;
        let platform = nano(platform.checked_div(ATOMS_PER_NANO).unwrap_or(0))?;
        let markup = nano(markup.checked_div(ATOMS_PER_NANO).unwrap_or(0))?;
        let rounding = total
            .checked_sub(platform)
            .and_then(|rest| rest.checked_sub(markup))
            .ok_or_else(too_large)?;
        let mut parts = vec![Part { party: Party::Platform, amount: platform }];
        if let Some(author) = author {
            parts.push(Part { party: Party::Author(author.org.clone()), amount: markup });
        }
        parts.push(Part { party: Party::Rounding, amount: rounding });
        parts.retain(|part| part.amount > Nano::ZERO);
        Ok(Charge { total, parts })
    }
}

/// Divides `total` in proportion to `weights` by the largest remainder; ties go to the lower
/// index. The shares sum to `total` unless all weights are zero. Inputs fit 64 bits.
fn split(total: u128, weights: &[u128]) -> Vec<u128> {
    let sum: u128 = weights.iter().fold(0, |sum, weight| sum.saturating_add(*weight));
    let product = |weight: &u128| total.saturating_mul(*weight);
    let mut shares: Vec<u128> =
        weights.iter().map(|weight| product(weight).checked_div(sum).unwrap_or(0)).collect();
    let given: u128 = shares.iter().fold(0, |sum, share| sum.saturating_add(*share));
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|index| {
        let remainder = weights.get(*index).and_then(|weight| product(weight).checked_rem(sum));
        std::cmp::Reverse(remainder)
    });
    let missing = usize::try_from(total.saturating_sub(given)).unwrap_or(usize::MAX);
    for index in by_remainder.into_iter().take(missing) {
        if let Some(share) = shares.get_mut(index) {
            *share = share.saturating_add(1);
        }
    }
    shares
}

fn quantity_times_rate(quantity: u64, rate: Pico, scale: u128) -> Result<u128, BillingError> {
    u128::from(quantity)
        .checked_mul(u128::from(rate.as_pico()))
        .and_then(|product| product.checked_mul(scale))
        .ok_or_else(too_large)
}

fn add(sum: u128, atoms: u128) -> Result<u128, BillingError> {
    sum.checked_add(atoms).ok_or_else(too_large)
}

fn nano(amount: u128) -> Result<Nano, BillingError> {
    i64::try_from(amount).map(Nano::from_nano).ok().ok_or_else(too_large)
}

fn too_large() -> BillingError {
    BillingError::Invalid("usage: the charge does not fit 64-bit nano-credits".to_owned())
}

fn misplaced(reason: &str) -> BillingError {
    BillingError::Invalid(format!("usage: {reason}"))
}

#[cfg(test)]
mod tests;
