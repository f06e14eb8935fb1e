//! Whom to tell what: low balances, and requests to the payment provider for more.

use serde_json::{Value, json};
use uuid::Uuid;

use super::payments::{balance_after, matured};
use super::settings::{resets_at_ms, spent};
use super::{Change, Facts, State};
use crate::account::Account;
use crate::calendar::Period;
use crate::document::{Document, Settings};
use crate::error::Refusal;
use crate::ids::{MessageId, OrgId};
use crate::message::{MESSAGES_MAX, MESSAGES_PER_ORG_MAX, Message};
use crate::money::Nano;
use crate::order::AutoTopUp;
use crate::report::{AccountReport, BudgetReport, EndpointReport, LotReport};

/// An organisation's account in whole.
pub(crate) fn report_account(state: &State, org: &OrgId, at_ms: u64) -> AccountReport {
    let lots = state.lots_of(org).map(|lot| {
        let counters = state.counters(&Account::Lot(lot.lot));
        LotReport {
            lot: lot.lot,
            funding: lot.funding,
            priority: lot.priority,
            scope: lot.scope.clone(),
            expires_at_ms: lot.expires_at_ms,
            available: counters.available(),
            held: counters.debits_held,
            note: lot.note.clone(),
        }
    });
    let budgets = state.budgets_of(org).into_iter().map(|budget| BudgetReport {
        budget: budget.budget,
        key: budget.key.clone(),
        window: budget.window,
        limit: budget.limit.unwrap_or(Nano::ZERO),
        spent: spent(state, budget, at_ms),
        held: state.counters(&Account::Budget(budget.budget)).debits_held,
        resets_at_ms: resets_at_ms(budget),
    });
    let settings = state.settings(Some(org));
    let is_left = |lot: &LotReport| lot.available > Nano::ZERO || lot.held > Nano::ZERO;
    AccountReport {
        balance: state.balance(org),
        lots: lots.filter(is_left).collect(),
        budgets: budgets.collect(),
        low_balance: settings.and_then(|settings| settings.low_balance),
        auto_top_up: settings.and_then(|settings| settings.auto_top_up.clone()),
        endpoint_url: settings
            .and_then(|settings| settings.endpoint.as_ref())
            .map(|e| e.url.clone()),
        endpoint_gone: settings.and_then(|settings| settings.gone.clone()),
        payable: state.counters(&Account::Payable(org.clone())).posted(),
        matured: matured(state, org, at_ms),
    }
}

/// Where the messages of an organisation (or, without one, of the operator) go.
pub(crate) fn report_endpoint(state: &State, org: Option<&OrgId>) -> EndpointReport {
    let settings = state.settings(org);
    let endpoint = settings.and_then(|settings| settings.endpoint.as_ref());
    EndpointReport {
        url: endpoint.map(|endpoint| endpoint.url.clone()),
        gone: settings.and_then(|settings| settings.gone.clone()),
    }
}

/// After a charge: a balance that fell below what somebody wants to know is told, once.
pub(super) fn after_spending(
    state: &State,
    org: &OrgId,
    change: &mut Change,
    facts: &Facts<'_>,
) -> Result<(), Refusal> {
    let Some(settings) = state.settings(Some(org)) else { return Ok(()) };
    if settings.low_balance.is_none() && settings.auto_top_up.is_none() {
        return Ok(());
    }
    let posted = balance_after(state, org, change)?.posted;
    let mut after = settings.clone();
    let [first, second] = facts.ids;
    let told = tell_low(settings, posted)
        .filter(|_| settings.endpoint.is_some() && has_room(state, Some(org)))
        .map(|below| low(org, (below, posted), (first, facts.at_ms)));
    after.told |= told.is_some();
    let asked = ask_for_more(state, settings, (posted, facts.at_ms));
    let asked = asked.filter(|_| has_room(state, None)).map(|(rule, count)| {
        after.asked = true;
        after.asked_in = Some((Period::of(facts.at_ms), count));
        more(org, (&rule, posted), (second, facts.at_ms))
    });
    if after != *settings {
        change.documents.push(Document::Settings(after));
    }
    let messages = told.into_iter().chain(asked);
    let documents = messages.map(|message| Document::Message { message, done: false });
    change.documents.extend(documents);
    Ok(())
}

/// Whether another message may wait. What finds no room is told with the next charge. One
/// organisation cannot take the room of others, nor all of them the operator's.
fn has_room(state: &State, org: Option<&OrgId>) -> bool {
    let all = state.messages_waiting(None);
    match org {
        Some(_) => all < MESSAGES_MAX && state.messages_waiting(org) < MESSAGES_PER_ORG_MAX,
        None => all < MESSAGES_MAX.saturating_mul(2),
    }
}

/// After money came: the next fall is told again, and what was asked for has come.
pub(super) fn after_paying(state: &State, org: &OrgId, change: &mut Change) -> Result<(), Refusal> {
    let Some(settings) = state.settings(Some(org)) else { return Ok(()) };
    let posted = balance_after(state, org, change)?.posted;
    let enough = settings.low_balance.is_none_or(|below| posted >= below);
    let after = Settings { told: settings.told && !enough, asked: false, ..settings.clone() };
    if after != *settings {
        change.documents.push(Document::Settings(after));
    }
    Ok(())
}

fn tell_low(settings: &Settings, posted: Nano) -> Option<Nano> {
    settings.low_balance.filter(|below| posted < *below && !settings.told)
}

/// Whether to ask for money, and how often that makes it this month. Nothing is asked for while
/// an earlier request is unanswered, or where nobody listens.
fn ask_for_more(
    state: &State,
    settings: &Settings,
    (posted, at_ms): (Nano, u64),
) -> Option<(AutoTopUp, u32)> {
    let rule = settings.auto_top_up.as_ref()?;
    let somebody_listens = state.settings(None).is_some_and(|ours| ours.endpoint.is_some());
    if posted >= rule.below || settings.asked || !somebody_listens {
        return None;
    }
    let this_month = settings.asked_in.filter(|(period, _)| *period == Period::of(at_ms));
    let count = this_month.map_or(0, |(_, count)| count);
    (count < rule.per_month_max).then(|| (rule.clone(), count.saturating_add(1)))
}

fn low(org: &OrgId, (below, posted): (Nano, Nano), made: (Uuid, u64)) -> Message {
    let body = json!({ "org": org, "balance": posted, "below": below });
    message(Some(org), "balance.low", body, made)
}

fn more(org: &OrgId, (rule, posted): (&AutoTopUp, Nano), made: (Uuid, u64)) -> Message {
    let body = json!({ "org": org, "balance": posted, "below": rule.below, "amount": rule.amount });
    message(None, "top_up.requested", body, made)
}

fn message(org: Option<&OrgId>, topic: &str, body: Value, (id, at_ms): (Uuid, u64)) -> Message {
    Message {
        id: MessageId::from_uuid(id),
        org: org.cloned(),
        topic: topic.to_owned(),
        body,
        created_at_ms: at_ms,
        attempts: 0,
        due_at_ms: at_ms,
    }
}
