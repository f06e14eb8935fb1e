//! Money in and out: top-ups, chargebacks, grants, refunds, adjustments, payouts.

use super::{Change, Facts, State, minus, negative, notices, plus};
use crate::account::{Account, Purpose, Transfer};
use crate::calendar::Day;
use crate::charge::split;
use crate::document::{Document, Lot, Refunds};
use crate::error::Refusal;
use crate::ids::{LotId, OrgId};
use crate::ledger::store::{CallEnd, CallRow};
use crate::money::Nano;
use crate::order::{Funding, Grant, Outcome, Payment};
use crate::report::Balance;

use super::calls::earning;

/// Live lots of one organisation; more are a mistake, and every hold looks at all of them.
const LOTS_MAX: usize = 1000;

pub(super) fn top_up(state: &State, payment: &Payment) -> Result<(Change, Outcome), Refusal> {
    let mut transfers = vec![Transfer {
        purpose: Purpose::TopUp,
        debit: Account::Cash(payment.rail.clone()),
        credit: Account::Wallet(payment.org.clone()),
        amount: payment.amount,
    }];
    settle(state, &payment.org, (Nano::ZERO, payment.amount), &mut transfers)?;
    let mut change = Change { transfers, ..Change::default() };
    notices::after_paying(state, &payment.org, &mut change)?;
    let balance = balance_after(state, &payment.org, &change)?;
    Ok((change, Outcome::Balance(balance)))
}

/// Pays what an organisation owes from what its wallet has. `more_owed` and `more_available` are
/// what this change adds to either before.
pub(super) fn settle(
    state: &State,
    org: &OrgId,
    (more_owed, more_available): (Nano, Nano),
    transfers: &mut Vec<Transfer>,
) -> Result<(), Refusal> {
    let wallet = Account::Wallet(org.clone());
    let owed = plus(state.owed(org), more_owed)?;
    let available = plus(state.counters(&wallet).available(), more_available)?;
    let amount = owed.min(available);
    if amount > Nano::ZERO {
        let credit = Account::Receivable(org.clone());
        transfers.push(Transfer { purpose: Purpose::Settlement, debit: wallet, credit, amount });
    }
    Ok(())
}

pub(super) fn chargeback(state: &State, payment: &Payment) -> Result<(Change, Outcome), Refusal> {
    let wallet = Account::Wallet(payment.org.clone());
    let from_wallet = payment.amount.min(state.counters(&wallet).available());
    let owed = minus(payment.amount, from_wallet)?;
    let transfer = |debit, amount| Transfer {
        purpose: Purpose::Chargeback,
        debit,
        credit: Account::Cash(payment.rail.clone()),
        amount,
    };
    let both =
        [transfer(wallet, from_wallet), transfer(Account::Receivable(payment.org.clone()), owed)];
    let transfers = both.into_iter().filter(|transfer| transfer.amount > Nano::ZERO).collect();
    let change = Change { transfers, ..Change::default() };
    let balance = balance_after(state, &payment.org, &change)?;
    Ok((change, Outcome::Balance(balance)))
}

pub(super) fn grant(
    state: &State,
    grant: &Grant,
    at_ms: u64,
) -> Result<(Change, Outcome), Refusal> {
    if grant.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= at_ms) {
        return Err(Refusal::AlreadyExpired);
    }
    if state.lots_of(&grant.org).count() >= LOTS_MAX {
        let max = u64::try_from(LOTS_MAX).unwrap_or(u64::MAX);
        return Err(Refusal::TooMany { max });
    }
    let (lot, change) = grant_lot(state, grant, at_ms)?;
    let balance = state.balance(&grant.org);
    let balance = Balance {
        posted: plus(balance.posted, grant.amount)?,
        available: plus(balance.available, grant.amount)?,
        ..balance
    };
    Ok((change, Outcome::Granted { lot, balance }))
}

/// A new lot with its credits.
pub(super) fn grant_lot(
    state: &State,
    grant: &Grant,
    at_ms: u64,
) -> Result<(LotId, Change), Refusal> {
    let number = state.last().lot.checked_add(1).ok_or(Refusal::BalanceOverflow)?;
    let lot = LotId(number);
    let document = Document::Lot(Lot {
        lot,
        org: grant.org.clone(),
        funding: grant.funding,
        priority: grant.priority,
        expires_at_ms: grant.expires_at_ms,
        scope: grant.scope.clone(),
        granted_at_ms: at_ms,
        note: grant.note.clone(),
        expired: false,
    });
    let debit = match grant.funding {
        Funding::Promotional => Account::Promo,
        Funding::Paid => Account::Cash("operator".to_owned()),
    };
    let (purpose, credit) = (Purpose::Grant, Account::Lot(lot));
    let transfers = vec![Transfer { purpose, debit, credit, amount: grant.amount }];
    Ok((lot, Change { transfers, documents: vec![document], ..Change::default() }))
}

pub(super) fn refund(
    state: &State,
    (org, amount): (&OrgId, Option<Nano>),
    facts: &Facts<'_>,
) -> Result<(Change, Outcome), Refusal> {
    let Some((row @ CallRow { end: CallEnd::Captured { .. }, .. }, transfers)) = facts.past else {
        return Err(Refusal::UnknownCall);
    };
    let paid: Vec<&Transfer> = transfers.iter().filter(|t| is_part(t)).collect();
    let before = facts.refunds.map(|refunds| refunds.given_back.as_slice()).unwrap_or_default();
    let given = |index: usize| before.get(index).copied().unwrap_or(Nano::ZERO);
    let mut left = Vec::with_capacity(paid.len());
    for (index, transfer) in paid.iter().enumerate() {
        left.push(minus(transfer.amount, given(index))?);
    }
    let refundable = left.iter().try_fold(Nano::ZERO, |sum, left| plus(sum, *left))?;
    let amount = amount.unwrap_or(refundable);
    if amount > refundable || amount == Nano::ZERO {
        return Err(Refusal::RefundExceedsCharge { refundable });
    }
    let shares = shares(amount, &left);
    let mut change = Change::default();
    let mut given_back = Vec::with_capacity(paid.len());
    let mut owed = state.owed(org);
    for (index, (transfer, share)) in paid.iter().zip(shares).enumerate() {
        given_back.push(plus(given(index), share)?);
        change.transfers.extend(give_back(state, (transfer, share), &mut owed)?);
        // On the day of the charge, so that what has matured stays exact.
        let earned = earning(transfer, Day::of(row.ended_at_ms), &row.terms.subject);
        if let Some((key, _, _)) = earned.filter(|_| share > Nano::ZERO) {
            change.earnings.push((key, 0, negative(share)));
        }
    }
    settle_refund(state, org, &mut change)?;
    let in_all = given_back.iter().try_fold(Nano::ZERO, |sum, given| plus(sum, *given))?;
    let call = Some(row.terms.call);
    change.documents.push(Document::Refunds(Refunds { org: org.to_string(), call, given_back }));
    notices::after_paying(state, org, &mut change)?;
    let balance = balance_after(state, org, &change)?;
    Ok((change, Outcome::Refunded { amount, in_all, balance }))
}

/// Pays what is owed from what a refund put into the wallet.
fn settle_refund(state: &State, org: &OrgId, change: &mut Change) -> Result<(), Refusal> {
    let (wallet, receivable) = (Account::Wallet(org.clone()), Account::Receivable(org.clone()));
    let to = |account: &Account| {
        let given = change.transfers.iter().filter(|transfer| transfer.credit == *account);
        given.map(|transfer| transfer.amount).try_fold(Nano::ZERO, plus)
    };
    let (returned, settled) = (to(&wallet)?, to(&receivable)?);
    settle(state, org, (negative(settled), returned), &mut change.transfers)
}

/// Whether a transfer is a part of a charge.
fn is_part(transfer: &Transfer) -> bool {
    use Purpose::{Author, ModelOwner, Platform, Promo, Provider, Rounding};
    matches!(transfer.purpose, Platform | Author | ModelOwner | Provider | Rounding | Promo)
}

/// Divides a refund in proportion to what is left of each part; no share is more than that.
fn shares(amount: Nano, left: &[Nano]) -> Vec<Nano> {
    let wide = |amount: &Nano| u128::try_from(amount.as_nano()).unwrap_or(0);
    let weights: Vec<u128> = left.iter().map(wide).collect();
    let shares = split(wide(&amount), &weights).into_iter();
    shares.map(|share| Nano::from_nano(i64::try_from(share).unwrap_or(0))).collect()
}

/// Reverses a share of a transfer. What a lot paid that has expired since is breakage; what was
/// owed and is paid by now goes to the wallet.
fn give_back(
    state: &State,
    (transfer, share): (&Transfer, Nano),
    owed: &mut Nano,
) -> Result<Vec<Transfer>, Refusal> {
    let reverse = |credit: Account, amount: Nano| Transfer {
        purpose: Purpose::Refund,
        debit: transfer.credit.clone(),
        credit,
        amount,
    };
    let mut reversed = match &transfer.debit {
        Account::Lot(lot) if state.lot(*lot).is_none() => vec![reverse(Account::Breakage, share)],
        Account::Receivable(org) => {
            let settles = share.min(*owed);
            *owed = minus(*owed, settles)?;
            let wallet = Account::Wallet(org.clone());
            vec![reverse(transfer.debit.clone(), settles), reverse(wallet, minus(share, settles)?)]
        }
        debit => vec![reverse(debit.clone(), share)],
    };
    reversed.retain(|transfer| transfer.amount > Nano::ZERO);
    Ok(reversed)
}

pub(super) fn adjust(
    state: &State,
    org: &OrgId,
    amount: Nano,
) -> Result<(Change, Outcome), Refusal> {
    let wallet = Account::Wallet(org.clone());
    let purpose = Purpose::Adjustment;
    let mut transfers = Vec::new();
    if amount.is_negative() {
        let amount = negative(amount);
        let available = state.counters(&wallet).available();
        if amount > available {
            return Err(Refusal::AdjustmentExceedsWallet { available });
        }
        transfers.push(Transfer { purpose, debit: wallet, credit: Account::Suspense, amount });
    } else {
        transfers.push(Transfer { purpose, debit: Account::Suspense, credit: wallet, amount });
        settle(state, org, (Nano::ZERO, amount), &mut transfers)?;
    }
    let change = Change { transfers, ..Change::default() };
    let balance = balance_after(state, org, &change)?;
    Ok((change, Outcome::Balance(balance)))
}

pub(super) fn payout(
    state: &State,
    payment: &Payment,
    at_ms: u64,
) -> Result<(Change, Outcome), Refusal> {
    let matured = matured(state, &payment.org, at_ms);
    if payment.amount > matured {
        return Err(Refusal::NotMatured { matured });
    }
    let transfer = Transfer {
        purpose: Purpose::Payout,
        debit: Account::Payable(payment.org.clone()),
        credit: Account::Cash(payment.rail.clone()),
        amount: payment.amount,
    };
    let change = Change { transfers: vec![transfer], ..Change::default() };
    let matured = minus(matured, payment.amount)?;
    Ok((change, Outcome::PaidOut { matured }))
}

/// What of an organisation's earnings can be paid out.
pub(super) fn matured(state: &State, org: &OrgId, at_ms: u64) -> Nano {
    let payable = state.counters(&Account::Payable(org.clone())).posted();
    let matured = payable.checked_sub(state.maturing(org, at_ms)).unwrap_or(Nano::ZERO);
    matured.max(Nano::ZERO)
}

/// What an organisation has after a change that is not taken yet.
pub(super) fn balance_after(
    state: &State,
    org: &OrgId,
    change: &Change,
) -> Result<Balance, Refusal> {
    let mut balance = state.balance(org);
    let is_own = |account: &Account| match account {
        Account::Wallet(of) => of == org,
        Account::Lot(lot) => state.lot(*lot).is_some_and(|lot| lot.org == *org),
        _ => false,
    };
    let receivable = Account::Receivable(org.clone());
    for transfer in &change.transfers {
        if is_own(&transfer.debit) {
            balance.posted = minus(balance.posted, transfer.amount)?;
        }
        if is_own(&transfer.credit) {
            balance.posted = plus(balance.posted, transfer.amount)?;
        }
        if transfer.debit == receivable {
            balance.owed = plus(balance.owed, transfer.amount)?;
        }
        if transfer.credit == receivable {
            balance.owed = minus(balance.owed, transfer.amount)?;
        }
    }
    for (account, amount) in &change.held {
        if is_own(account) {
            balance.held = plus(balance.held, *amount)?;
        }
    }
    balance.available = minus(balance.posted, balance.held)?;
    Ok(balance)
}
