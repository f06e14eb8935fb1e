//! What is set: budgets, prices, rules, endpoints, gateways; and what became of messages.

use std::sync::Arc;

use super::{Change, State, minus, negative, plus};
use crate::account::{Account, Purpose, Transfer};
use crate::calendar::{Day, Period};
use crate::document::{Budget, Document, Gateway, Settings};
use crate::error::Refusal;
use crate::ids::{BudgetId, KeyId, MessageId, OrgId, PriceVersion};
use crate::ledger::store::CallEnd;
use crate::message::Message;
use crate::money::Nano;
use crate::order::{AutoTopUp, Endpoint, EndpointGone, Outcome, Platform, Window};
use crate::price::NewPriceBook;

/// Budgets of one organisation, its keys' included.
const BUDGETS_MAX: usize = 10_000;

pub(super) fn budget(
    state: &State,
    (org, key, window): (&OrgId, Option<&KeyId>, Window),
    limit: Option<Nano>,
    at_ms: u64,
) -> Result<(Change, Outcome), Refusal> {
    let budgets = state.budgets_of(org);
    let known = budgets.iter().find(|b| b.key.as_ref() == key && b.window == window);
    let budget = match (known, limit) {
        (None, None) => return Ok((Change::default(), Outcome::Budget(None))),
        (Some(known), limit) => Budget { limit, ..reopened(state, known, at_ms) },
        (None, Some(_)) if budgets.len() >= BUDGETS_MAX => {
            return Err(Refusal::TooMany { max: u64::try_from(BUDGETS_MAX).unwrap_or(u64::MAX) });
        }
        (None, Some(_)) => Budget {
            budget: BudgetId(state.last().budget.saturating_add(1)),
            org: org.clone(),
            key: key.cloned(),
            window,
            limit,
            opened_at_ms: window_start(window, at_ms),
            debits_before: Nano::ZERO,
        },
    };
    let outcome = Outcome::Budget(limit.map(|_| budget.budget));
    Ok((allow(state, budget)?, outcome))
}

/// A new window of a budget.
pub(super) fn open_window(state: &State, budget: BudgetId, at_ms: u64) -> Result<Change, Refusal> {
    match state.budget(budget) {
        Some(known) => allow(state, reopened(state, known, at_ms)),
        None => Ok(Change::default()),
    }
}

/// The budget in the window of `at_ms`.
fn reopened(state: &State, known: &Budget, at_ms: u64) -> Budget {
    let opened_at_ms = window_start(known.window, at_ms);
    if opened_at_ms <= known.opened_at_ms {
        return known.clone();
    }
    let counters = state.counters(&Account::Budget(known.budget));
    Budget { opened_at_ms, debits_before: counters.debits_posted, ..known.clone() }
}

/// Makes the budget's account allow what its limit leaves: the limit less what was spent in the
/// window and what is held, or nothing.
fn allow(state: &State, budget: Budget) -> Result<Change, Refusal> {
    let account = Account::Budget(budget.budget);
    let counters = state.counters(&account);
    let spent = minus(counters.debits_posted, budget.debits_before)?;
    let used = plus(spent, counters.debits_held)?;
    let wanted = minus(budget.limit.unwrap_or(Nano::ZERO), used)?.max(Nano::ZERO);
    let more = minus(wanted, counters.available())?;
    let (purpose, clearing) = (Purpose::BudgetLimit, account.clearing());
    let transfer = if more.is_negative() {
        Transfer { purpose, debit: account, credit: clearing, amount: negative(more) }
    } else {
        Transfer { purpose, debit: clearing, credit: account, amount: more }
    };
    let mut budget = budget;
    if more.is_negative() {
        // Taking permission back is no spending.
        budget.debits_before = plus(budget.debits_before, negative(more))?;
    }
    let transfers = vec![transfer].into_iter().filter(|t| t.amount > Nano::ZERO).collect();
    Ok(Change { transfers, documents: vec![Document::Budget(budget)], ..Change::default() })
}

/// What a budget's window at `at_ms` has spent.
pub(super) fn spent(state: &State, budget: &Budget, at_ms: u64) -> Nano {
    if is_over(budget, at_ms) {
        return Nano::ZERO;
    }
    let counters = state.counters(&Account::Budget(budget.budget));
    counters.debits_posted.checked_sub(budget.debits_before).unwrap_or(Nano::ZERO)
}

/// What a budget's present window still allows: never more than its limit leaves, even where a
/// lowered limit is below what was held.
pub(super) fn left(state: &State, budget: &Budget) -> Nano {
    let counters = state.counters(&Account::Budget(budget.budget));
    let spent = counters.debits_posted.checked_sub(budget.debits_before).unwrap_or(Nano::ZERO);
    let used = spent.checked_add(counters.debits_held).unwrap_or(Nano::MAX);
    let limit = budget.limit.unwrap_or(Nano::ZERO);
    let left = limit.checked_sub(used).unwrap_or(Nano::ZERO);
    left.min(counters.available()).max(Nano::ZERO)
}

/// Whether a budget's window has ended by `at_ms`.
pub(super) fn is_over(budget: &Budget, at_ms: u64) -> bool {
    resets_at_ms(budget).is_some_and(|resets_at_ms| resets_at_ms <= at_ms)
}

/// When a budget's next window begins.
pub(super) fn resets_at_ms(budget: &Budget) -> Option<u64> {
    match budget.window {
        Window::Day => Some(Day::of(budget.opened_at_ms).ends_at_ms()),
        Window::Month => Some(Period::of(budget.opened_at_ms).ends_at_ms()),
        Window::Total => None,
    }
}

fn window_start(window: Window, at_ms: u64) -> u64 {
    match window {
        Window::Day => Day::of(at_ms).starts_at_ms(),
        Window::Month => Period::of(at_ms).starts_at_ms(),
        Window::Total => 0,
    }
}

pub(super) fn prices(state: &State, book: &NewPriceBook, at_ms: u64) -> (Change, Outcome) {
    let version = PriceVersion(state.last_version().0.saturating_add(1));
    let book = book.clone().published(version, at_ms);
    let outcome = Outcome::Priced(Box::new(book.clone()));
    (Change { book: Some(Arc::new(book)), ..Change::default() }, outcome)
}

/// Changes what an organisation (or the operator) has set.
fn set(
    state: &State,
    org: Option<&OrgId>,
    change: impl FnOnce(&mut Settings),
) -> (Change, Outcome) {
    let empty = || Settings { org: org.cloned(), ..Settings::default() };
    let mut settings = state.settings(org).cloned().unwrap_or_else(empty);
    change(&mut settings);
    let documents = vec![Document::Settings(settings)];
    (Change { documents, ..Change::default() }, Outcome::Done)
}

pub(super) fn low_balance(state: &State, org: &OrgId, below: Option<Nano>) -> (Change, Outcome) {
    set(state, Some(org), |settings| {
        settings.told &= settings.low_balance == below;
        settings.low_balance = below;
    })
}

pub(super) fn auto_top_up(
    state: &State,
    org: &OrgId,
    rule: Option<&AutoTopUp>,
) -> (Change, Outcome) {
    set(state, Some(org), |settings| {
        // The same rule again is no reason to ask for the same money twice.
        settings.asked &= rule.is_some();
        settings.auto_top_up = rule.cloned();
    })
}

pub(super) fn endpoint(
    state: &State,
    org: Option<&OrgId>,
    endpoint: Option<&Endpoint>,
) -> (Change, Outcome) {
    set(state, org, |settings| {
        settings.endpoint = endpoint.cloned();
        settings.gone = None;
    })
}

pub(super) fn platform(platform: &Platform) -> (Change, Outcome) {
    let documents = vec![Document::Platform(platform.clone())];
    (Change { documents, ..Change::default() }, Outcome::Done)
}

/// Gives a gateway's process its epoch, and voids the holds of its older ones.
pub(super) fn register(state: &State, gateway: &str) -> Result<(Change, Outcome), Refusal> {
    let epoch = state.gateway_epoch(gateway).saturating_add(1);
    let document = Document::Gateway(Gateway { gateway: gateway.to_owned(), epoch });
    let mut change = Change { documents: vec![document], ..Change::default() };
    let is_older = |holder: &crate::hold::Holder| holder.gateway == gateway && holder.epoch < epoch;
    for terms in state.holds().filter(|hold| hold.pinned.holder.as_ref().is_some_and(is_older)) {
        let end = super::calls::end(terms, CallEnd::Restarted);
        change.held.extend(end.held);
        change.ended.extend(end.ended);
    }
    let voided = u64::try_from(change.ended.len()).unwrap_or(u64::MAX);
    Ok((change, Outcome::Registered { epoch, voided }))
}

/// What became of a message. An endpoint whose receiver wants no more is switched off, where it is
/// still the one in use: its owner may have set another since the message was sent.
pub(super) fn delivery(
    state: &State,
    id: MessageId,
    (retry_at_ms, gone): (Option<u64>, Option<&str>),
    at_ms: u64,
) -> Result<(Change, Outcome), Refusal> {
    let message = state.message(id).ok_or(Refusal::UnknownMessage)?;
    let settings = state.settings(message.org.as_ref());
    let switched_off = settings.filter(|settings| {
        settings.endpoint.as_ref().is_some_and(|endpoint| Some(endpoint.url.as_str()) == gone)
    });
    let document = match retry_at_ms {
        None => Document::Message { message: message.clone(), done: true },
        Some(due_at_ms) => {
            let attempts = message.attempts.saturating_add(1);
            let message = Message { attempts, due_at_ms, ..message.clone() };
            Document::Message { message, done: false }
        }
    };
    let mut documents = vec![document];
    documents.extend(switched_off.map(|settings| {
        let url = settings.endpoint.as_ref().map(|endpoint| endpoint.url.clone());
        let gone = url.map(|url| EndpointGone { url, at_ms });
        Document::Settings(Settings { endpoint: None, gone, ..settings.clone() })
    }));
    Ok((Change { documents, ..Change::default() }, Outcome::Done))
}
