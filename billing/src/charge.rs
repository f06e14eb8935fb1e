//! From usage to money: what an ending pays, the exact charge, and who gets which part.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::BillingError;
use crate::account::{Account, Purpose, Transfer};
use crate::capture::Ending;
use crate::hold::{HoldTerms, Subject};
use crate::ids::OrgId;
use crate::money::{Nano, Pico};
use crate::price::{AuthorPrice, Meter, PriceBook, ProviderShare, UsageLine};

/// The most usage lines of one call.
pub const USAGE_LINES_MAX: usize = 1000;

/// Sums are exact in this unit: a pico-credit divided by microseconds per millisecond and by
/// basis points, so that neither compute time nor a markup on it is rounded on its own. Shares of
/// the price and markups on fuel are rounded down to it: the payer never pays for that.
const ATOMS_PER_PICO: u128 = 1000 * BPS_PER_WHOLE;
const ATOMS_PER_NANO: u128 = 1000 * ATOMS_PER_PICO;
const ATOMS_PER_PICO_MS_MICRO: u128 = BPS_PER_WHOLE;
const ATOMS_PER_PICO_PER_MILLION: u128 = 10;
const BPS_PER_WHOLE: u128 = 10_000;

/// Who is paid a part of a charge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// The platform: what the others leave.
    Platform,
    /// The function's author.
    Author(OrgId),
    /// The owner of a model that was used.
    ModelOwner(OrgId),
    /// The provider of the machine.
    Provider(OrgId),
    /// What rounding the parts down leaves: less than one nano-credit for each other part.
    Rounding,
    /// What free credits paid: it earns nobody anything.
    Promo,
}

/// Whose call is priced, and who has a share in it.
#[derive(Clone, Copy, Debug)]
pub struct Billed<'a> {
    /// Who pays.
    pub org: &'a OrgId,
    /// What the function's author adds. An organisation that calls its own function owes itself
    /// nothing: then the author's price is left out.
    pub author: Option<&'a AuthorPrice>,
    /// Who runs the call.
    pub provider: Option<&'a ProviderShare>,
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

/// Exact sums, in atoms.
#[derive(Default)]
struct Sums {
    /// What the platform asks, with the shares of owners and provider in it.
    base: u128,
    /// What the author adds.
    author: u128,
    owners: BTreeMap<OrgId, u128>,
}

impl PriceBook {
    /// Prices usage lines exactly, and rounds up once.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] where a line has a meter that its subject lacks (compute of a
    /// model, tokens without a model), there are more than [`USAGE_LINES_MAX`], the shares are
    /// more than the price, or the sum does not fit a [`Nano`].
    pub fn charge(
        &self,
        billed: &Billed<'_>,
        lines: &[UsageLine],
        markup: Markup,
    ) -> Result<Charge, BillingError> {
        if lines.len() > USAGE_LINES_MAX {
            let reason = format!("usage: more than {USAGE_LINES_MAX} lines");
            return Err(BillingError::Invalid(reason));
        }
        let author = billed.author.filter(|author| author.org != *billed.org);
        let mut sums = Sums::default();
        for line in lines {
            let atoms = self.line_atoms(billed.org, line)?;
            sums.base = add(sums.base, atoms)?;
            if let Some(author) = author {
                let asked = author_atoms(line, atoms, (author, markup))?;
                sums.author = add(sums.author, asked)?;
            }
            let royalty = line.model.as_ref().and_then(|model| self.royalties.get(model));
            if let Some(royalty) = royalty.filter(|royalty| royalty.org != *billed.org) {
                let owner = sums.owners.entry(royalty.org.clone()).or_default();
                *owner = add(*owner, share(atoms, royalty.share_bps))?;
            }
        }
        let provider = billed.provider.filter(|provider| provider.org != *billed.org);
        let provided = provider.map_or(0, |provider| share(sums.base, provider.share_bps));
        let author = author.map(|author| &author.org);
        Charge::from_atoms(sums, author, provider.map(|provider| (&provider.org, provided)))
    }

    /// What the platform asks for a line.
    fn line_atoms(&self, org: &OrgId, line: &UsageLine) -> Result<u128, BillingError> {
        let functions = self.function_rates(org);
        let (rate, scale) = match (&line.model, line.meter) {
            (Some(model), meter) => {
                let rates = self.rates(org, model);
                let rate = match meter {
                    Meter::InputTokens => rates.input_token,
                    Meter::CachedInputTokens => rates.cached_input_token,
                    Meter::OutputTokens => rates.output_token,
                    Meter::Calls => rates.call,
                    Meter::ComputeMicros | Meter::Fuel | Meter::EgressBytes => {
                        let reason = "compute, fuel and egress belong to a function, not a model";
                        return Err(misplaced(reason));
                    }
                };
                (rate, ATOMS_PER_PICO)
            }
            (None, Meter::Calls) => (functions.call, ATOMS_PER_PICO),
            (None, Meter::ComputeMicros) => (functions.compute_ms, ATOMS_PER_PICO_MS_MICRO),
            (None, Meter::Fuel) => (functions.fuel_million, ATOMS_PER_PICO_PER_MILLION),
            (None, Meter::EgressBytes) => (functions.egress_megabyte, ATOMS_PER_PICO_PER_MILLION),
            (None, _) => return Err(misplaced("tokens belong to a model")),
        };
        quantity_times_rate(line.quantity, rate, scale)
    }
}

/// What the author asks on top of the platform's `atoms` for a line.
fn author_atoms(
    line: &UsageLine,
    atoms: u128,
    (author, markup): (&AuthorPrice, Markup),
) -> Result<u128, BillingError> {
    match (&line.model, line.meter, markup) {
        (None, Meter::Calls, Markup::Full | Markup::CallFeeOnly) => {
            let fee = u128::try_from(author.call_fee.as_nano())
                .ok()
                .ok_or_else(|| BillingError::Invalid("author: a negative call fee".to_owned()))?;
            fee.checked_mul(u128::from(line.quantity))
                .and_then(|nano| nano.checked_mul(ATOMS_PER_NANO))
                .ok_or_else(too_large)
        }
        (None, Meter::ComputeMicros | Meter::Fuel, Markup::Full) => atoms
            .checked_mul(u128::from(author.compute_markup_bps))
            .and_then(|product| product.checked_div(BPS_PER_WHOLE))
            .ok_or_else(too_large),
        _ => Ok(0),
    }
}

/// A share in basis points, rounded down to an atom.
fn share(atoms: u128, share_bps: u32) -> u128 {
    // Atoms of a charge that fits 64-bit nano-credits leave room for four more decimals.
    atoms.saturating_mul(u128::from(share_bps)).checked_div(BPS_PER_WHOLE).unwrap_or(0)
}

/// The charge of a call: by the table of endings, with the pinned prices, at most the hold.
pub(crate) fn price_capture(
    book: &PriceBook,
    held: &HoldTerms,
    (usage, ending): (&[UsageLine], Ending),
) -> Result<Charge, BillingError> {
    let billed = Billed {
        org: &held.org,
        author: held.pinned.author.as_ref(),
        provider: held.pinned.provider.as_ref(),
    };
    let payable = payable(&held.subject, ending, usage);
    if payable.lines.len() != usage.len() {
        // A line that cannot be priced is refused even where this ending would not pay it.
        book.charge(&billed, usage, Markup::Full)?;
    }
    Ok(book.charge(&billed, &payable.lines, payable.markup)?.at_most(held.amount))
}

/// The parts of a charge, read back from the transfers that paid them.
pub(crate) fn parts_of(transfers: &[Transfer]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for transfer in transfers {
        let org = match &transfer.credit {
            Account::Payable(org) => Some(org.clone()),
            _ => None,
        };
        let party = match (transfer.purpose, org) {
            (Purpose::Platform, _) => Party::Platform,
            (Purpose::Author, Some(org)) => Party::Author(org),
            (Purpose::ModelOwner, Some(org)) => Party::ModelOwner(org),
            (Purpose::Provider, Some(org)) => Party::Provider(org),
            (Purpose::Rounding, _) => Party::Rounding,
            (Purpose::Promo, _) => Party::Promo,
            _ => continue,
        };
        match parts.iter_mut().find(|part| part.party == party) {
            Some(part) => {
                part.amount = part.amount.checked_add(transfer.amount).unwrap_or(Nano::MAX);
            }
            None => parts.push(Part { party, amount: transfer.amount }),
        }
    }
    parts.sort_by(|a, b| a.party.cmp(&b.party));
    parts
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
        sums: Sums,
        author: Option<&OrgId>,
        provider: Option<(&OrgId, u128)>,
    ) -> Result<Charge, BillingError> {
        let total = nano(add(sums.base, sums.author)?.div_ceil(ATOMS_PER_NANO))?;
        let mut platform = sums.base;
        let mut shares = Vec::new();
        if let Some(org) = author {
            shares.push((Party::Author(org.clone()), sums.author));
        }
        for (org, atoms) in sums.owners {
            platform = platform.checked_sub(atoms).ok_or_else(shares_too_large)?;
            shares.push((Party::ModelOwner(org), atoms));
        }
        if let Some((org, atoms)) = provider {
            platform = platform.checked_sub(atoms).ok_or_else(shares_too_large)?;
            shares.push((Party::Provider(org.clone()), atoms));
        }
        shares.insert(0, (Party::Platform, platform));
        let mut rounding = total;
        let mut parts = Vec::with_capacity(shares.len().saturating_add(1));
        for (party, atoms) in shares {
            let amount = nano(atoms.checked_div(ATOMS_PER_NANO).unwrap_or(0))?;
            rounding = rounding.checked_sub(amount).ok_or_else(too_large)?;
            parts.push(Part { party, amount });
        }
        parts.push(Part { party: Party::Rounding, amount: rounding });
        parts.retain(|part| part.amount > Nano::ZERO);
        Ok(Charge { total, parts })
    }
}

/// Divides `total` in proportion to `weights` by the largest remainder; ties go to the lower
/// index. The shares sum to `total` unless all weights are zero. Inputs fit 64 bits.
pub(crate) fn split(total: u128, weights: &[u128]) -> Vec<u128> {
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

fn shares_too_large() -> BillingError {
    BillingError::Invalid("the shares are more than the whole price".to_owned())
}

fn misplaced(reason: &str) -> BillingError {
    BillingError::Invalid(format!("usage: {reason}"))
}

#[cfg(test)]
mod tests;
