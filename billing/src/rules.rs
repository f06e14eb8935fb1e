//! The rules: a pure function from state, operation and facts to a change.
//!
//! Nothing here reads a clock, draws randomness or touches storage; all three come in as
//! [`Facts`]. The writer applies a change to the store and to the [`State`] it decides with.

mod state;

use std::sync::Arc;

use uuid::Uuid;

use crate::account::{Account, Counters, Transfer, TransferKind};
use crate::capture::{CaptureRequest, Receipt};
use crate::charge::{Charge, Part, Party, price_capture};
use crate::error::{BillingError, Refusal};
use crate::hold::{HoldEnd, HoldRequest, HoldTerms};
use crate::ids::{HoldId, OrgId, PriceVersion, ReceiptId};
use crate::money::Nano;
use crate::operation::{Answer, Operation};
use crate::price::{NewPriceBook, PriceBook};
use crate::report::Balance;

pub(crate) use state::State;

/// What the rules are told beside state and operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Now, never before any earlier operation.
    pub(crate) at_ms: u64,
    /// A fresh UUIDv7 for what the operation creates.
    pub(crate) id: Uuid,
    /// How the operation's hold has ended, where it is not open any more.
    pub(crate) ended: Option<HoldEnd>,
}

/// What an operation does: journal lines, the balances they lead to, and the event they record.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) balances: Vec<(Account, Counters)>,
    pub(crate) event: Event,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Held(Arc<HoldTerms>),
    Ended { hold: Arc<HoldTerms>, end: HoldEnd, receipt: Option<Box<Receipt>> },
    ToppedUp { id: Uuid, org: OrgId, amount: Nano, note: String, balance: Balance },
    Priced(Arc<PriceBook>),
}

impl Event {
    /// What the operation id is answered from now on.
    pub(crate) fn answer(&self) -> Answer {
        match self {
            Event::Held(hold) => Answer::Held(hold.id),
            Event::Ended { receipt: Some(receipt), .. } => Answer::Captured(receipt.id),
            Event::Ended { receipt: None, .. } => Answer::Voided,
            Event::ToppedUp { balance, .. } => Answer::ToppedUp(*balance),
            Event::Priced(book) => Answer::Priced(book.version),
        }
    }
}

/// Decides an operation. `Err` changes nothing.
pub(crate) fn apply(
    state: &State,
    operation: &Operation,
    facts: &Facts,
) -> Result<Change, BillingError> {
    match operation {
        Operation::Hold(request) => hold(state, request, facts),
        Operation::Capture(request) => capture(state, request, facts),
        Operation::Void { hold, .. } => {
            end(state, &open_hold(state, *hold, facts)?, HoldEnd::Voided)
        }
        Operation::TopUp { org, amount, note, .. } => top_up(state, (org, *amount, note), facts),
        Operation::SetPrices(book) => Ok(set_prices(state, book, facts)),
    }
}

/// Ends a hold without a charge: voided, expired, or orphaned by a restart.
pub(crate) fn end(
    state: &State,
    hold: &Arc<HoldTerms>,
    end: HoldEnd,
) -> Result<Change, BillingError> {
    let transfers = between(hold, TransferKind::Release).into_iter().collect();
    change(state, transfers, Event::Ended { hold: Arc::clone(hold), end, receipt: None })
}

fn hold(state: &State, request: &HoldRequest, facts: &Facts) -> Result<Change, BillingError> {
    if state.book(request.price_version).is_none() {
        return Err(BillingError::UnknownPrice);
    }
    if state.holds_open() >= state.holds_open_max() {
        return Err(BillingError::Overloaded);
    }
    let wallet = state.counters(&Account::Wallet(request.org.clone()));
    let available = wallet.balance().map_or(Nano::ZERO, |balance| balance.available);
    if request.amount > available {
        return Err(Refusal::InsufficientCredits { needed: request.amount, available }.into());
    }
    let terms = Arc::new(HoldTerms::new(HoldId::from_uuid(facts.id), request, facts.at_ms));
    let transfers = between(&terms, TransferKind::Hold).into_iter().collect();
    change(state, transfers, Event::Held(terms))
}

fn capture(state: &State, request: &CaptureRequest, facts: &Facts) -> Result<Change, BillingError> {
    let hold = open_hold(state, request.hold, facts)?;
    let book = state.book(hold.price_version).ok_or(BillingError::UnknownPrice)?;
    let charge = price_capture(book, &hold, request)?;
    let transfers = between(&hold, TransferKind::Release)
        .into_iter()
        .chain(charge.parts.iter().map(|part| payment(&hold, part)))
        .collect();
    let receipt = receipt(&hold, request, charge, facts);
    let receipt = Some(Box::new(receipt));
    change(state, transfers, Event::Ended { hold, end: HoldEnd::Captured, receipt })
}

fn receipt(hold: &HoldTerms, request: &CaptureRequest, charge: Charge, facts: &Facts) -> Receipt {
    Receipt::new(ReceiptId::from_uuid(facts.id), facts.at_ms, hold, request, charge)
}

fn top_up(
    state: &State,
    (org, amount, note): (&OrgId, Nano, &str),
    facts: &Facts,
) -> Result<Change, BillingError> {
    let wallet = Account::Wallet(org.clone());
    let transfer = Transfer {
        kind: TransferKind::Post,
        debit: Account::CashOperator,
        credit: wallet.clone(),
        amount,
        hold: None,
    };
    let balances = posted(state, std::slice::from_ref(&transfer))?;
    let balance = balances
        .iter()
        .find(|(account, _)| *account == wallet)
        .and_then(|(_, counters)| counters.balance())
        .ok_or(Refusal::BalanceOverflow)?;
    let event =
        Event::ToppedUp { id: facts.id, org: org.clone(), amount, note: note.to_owned(), balance };
    Ok(Change { transfers: vec![transfer], balances, event })
}

fn set_prices(state: &State, book: &NewPriceBook, facts: &Facts) -> Change {
    let version = PriceVersion(state.last_version().0.saturating_add(1));
    let book = Arc::new(book.clone().published(version, facts.at_ms));
    Change { transfers: Vec::new(), balances: Vec::new(), event: Event::Priced(book) }
}

fn open_hold(state: &State, id: HoldId, facts: &Facts) -> Result<Arc<HoldTerms>, BillingError> {
    match (state.hold(id), facts.ended) {
        (Some(hold), _) => Ok(Arc::clone(hold)),
        (None, Some(end)) => Err(BillingError::HoldEnded(end)),
        (None, None) => Err(BillingError::UnknownHold),
    }
}

/// The transfer that makes or releases a hold; a hold of nothing has none.
fn between(hold: &HoldTerms, kind: TransferKind) -> Option<Transfer> {
    (hold.amount > Nano::ZERO).then(|| Transfer {
        kind,
        debit: Account::Wallet(hold.org.clone()),
        credit: Account::Clearing,
        amount: hold.amount,
        hold: Some(hold.id),
    })
}

/// The transfer that pays a party of a charge.
fn payment(hold: &HoldTerms, part: &Part) -> Transfer {
    Transfer {
        kind: TransferKind::Post,
        debit: Account::Wallet(hold.org.clone()),
        credit: match &part.party {
            Party::Platform => Account::Platform,
            Party::Author(org) => Account::Payable(org.clone()),
            Party::Rounding => Account::Rounding,
        },
        amount: part.amount,
        hold: Some(hold.id),
    }
}

fn change(state: &State, transfers: Vec<Transfer>, event: Event) -> Result<Change, BillingError> {
    let balances = posted(state, &transfers)?;
    Ok(Change { transfers, balances, event })
}

/// The counters of the accounts that transfers touch, after them.
fn posted(state: &State, transfers: &[Transfer]) -> Result<Vec<(Account, Counters)>, Refusal> {
    let mut touched: Vec<(Account, Counters)> = Vec::new();
    for transfer in transfers {
        let Transfer { kind, amount, .. } = *transfer;
        let debit = slot(&mut touched, state, &transfer.debit);
        *debit = debit.debited(kind, amount)?;
        let credit = slot(&mut touched, state, &transfer.credit);
        *credit = credit.credited(kind, amount)?;
    }
    Ok(touched)
}

fn slot<'a>(
    touched: &'a mut Vec<(Account, Counters)>,
    state: &State,
    account: &Account,
) -> &'a mut Counters {
    let at = touched.iter().position(|(known, _)| known == account).unwrap_or(touched.len());
    if at == touched.len() {
        touched.push((account.clone(), state.counters(account)));
    }
    &mut touched[at].1
}

#[cfg(test)]
mod tests;
