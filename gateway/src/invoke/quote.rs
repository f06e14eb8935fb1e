//! What a call may cost at most, known before it begins. Calls hold what is quoted here, and
//! `POST /v1/quote` tells it; nothing else computes it.

use std::sync::Arc;

use emberbox_billing::{
    AuthorPrice, Billed, Markup, Meter, Nano, OrgId, PriceBook, Subject, UsageLine,
};
use emberbox_runtime::bridge::{Bridge, Open, Plan, SessionId, Task};

use super::Tally;
use crate::app::App;
use crate::deployments::Live;
use crate::errors::ApiError;

/// The worst case of one call, at the prices in force.
#[derive(Clone, Debug)]
pub(crate) struct Quote {
    pub(crate) subject: Subject,
    /// The most that the call may cost: what is held.
    pub(crate) amount: Nano,
    pub(crate) book: Arc<PriceBook>,
    pub(crate) author: Option<AuthorPrice>,
    /// The quantities behind the amount, as far as they are known before the call.
    pub(crate) lines: Vec<UsageLine>,
}

/// A direct model call to be quoted.
pub(crate) struct Asked<'a> {
    pub(crate) model: &'a str,
    pub(crate) task: Task,
    /// How many answers to it; at least one.
    pub(crate) choices: u32,
    /// The most that the caller pays.
    pub(crate) max_cost: Option<Nano>,
}

/// A task that is ready to be submitted, and its worst case.
pub(crate) struct Prepared {
    /// One for each answer.
    pub(crate) sessions: Vec<Session>,
    /// Of one of the answers.
    pub(crate) plan: Plan,
    pub(crate) quote: Quote,
}

/// A session that is closed whatever happens.
pub(crate) struct Session {
    pub(crate) bridge: Arc<dyn Bridge>,
    pub(crate) id: SessionId,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.bridge.close(self.id);
    }
}

/// Prepares a direct model call and quotes it. A caller who limits the cost but not the output gets
/// as much output as the cost allows.
pub(crate) async fn model(app: &App, org: &OrgId, asked: Asked<'_>) -> Result<Prepared, ApiError> {
    let Asked { model, mut task, choices, max_cost } = asked;
    let first = open(app, org, model).await?;
    let book = app.billing.prices().await?;
    let quote = |plan: Plan| of_plan(&book, org, (model, choices), plan);
    let mut plan = app.bridge.prepare(first.id, task.clone()).await?;
    let mut quoted = quote(plan)?;
    if let Some(max_cost) = max_cost.filter(|max_cost| quoted.amount > *max_cost) {
        let affordable = |output_tokens_max: &u32| {
            let plan = Plan { output_tokens_max: *output_tokens_max, ..plan };
            quote(plan).is_ok_and(|quote| quote.amount <= max_cost)
        };
        let limit = without_limit(&mut task);
        let most = limit.and_then(|limit| {
            *limit = longest(plan.output_tokens_max, affordable);
            *limit
        });
        if most.is_none() {
            let worst_case = quoted.amount;
            return Err(ApiError::MaxCostExceeded(format!(
                "this call may cost up to {worst_case} credits, and its max_cost is {max_cost}"
            )));
        }
        plan = app.bridge.prepare(first.id, task.clone()).await?;
        quoted = quote(plan)?;
    }
    let mut sessions = vec![first];
    for choice in 1..choices {
        let session = open(app, org, model).await?;
        app.bridge.prepare(session.id, another(&task, choice)).await?;
        sessions.push(session);
    }
    Ok(Prepared { sessions, plan, quote: quoted })
}

async fn open(app: &App, org: &OrgId, model: &str) -> Result<Session, ApiError> {
    // What a function has brought is no model that is offered.
    if emberbox_inference::is_brought(model) {
        return Err(ApiError::ModelNotFound(model.to_owned()));
    }
    let open = Open { model: model.to_owned(), tenant: org.as_str().to_owned() };
    let id = app.bridge.open(open).await?;
    Ok(Session { bridge: Arc::clone(&app.bridge), id })
}

/// The task for another answer, which has a seed of its own.
fn another(task: &Task, choice: u32) -> Task {
    let mut task = task.clone();
    if let Task::Generate { options, .. } = &mut task {
        options.seed = options.seed.map(|seed| seed.wrapping_add(u64::from(choice)));
    }
    task
}

/// Where the limit to a task's output goes, if its caller set none.
fn without_limit(task: &mut Task) -> Option<&mut Option<u32>> {
    match task {
        Task::Generate { options, .. } if options.max_tokens.is_none() => {
            Some(&mut options.max_tokens)
        }
        _ => None,
    }
}

/// The largest number from 1 to `most` that passes, where all smaller ones pass too.
fn longest(most: u32, passes: impl Fn(&u32) -> bool) -> Option<u32> {
    let (mut good, mut bad) = (0, most.saturating_add(1));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if passes(&middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    (good > 0).then_some(good)
}

/// The prompt once, at its dearer rate, whether it is cached or not, and every output token of all
/// answers.
fn of_plan(
    book: &Arc<PriceBook>,
    org: &OrgId,
    (model, choices): (&str, u32),
    plan: Plan,
) -> Result<Quote, ApiError> {
    let mut tally = Tally::default();
    tally.add(Some(model), Meter::Calls, 1);
    let input = dearer_input(book, org, model);
    tally.add(Some(model), input, u64::from(plan.input_tokens));
    let output = u64::from(plan.output_tokens_max) * u64::from(choices);
    tally.add(Some(model), Meter::OutputTokens, output);
    let lines = tally.lines();
    let billed = Billed { org, author: None, provider: None };
    let amount = book.charge(&billed, &lines, Markup::Full)?.total;
    let subject = Subject::Model(model.to_owned());
    Ok(Quote { subject, amount, book: Arc::clone(book), author: None, lines })
}

/// Nobody knows before the call what the cache will have.
pub(super) fn dearer_input(book: &PriceBook, org: &OrgId, model: &str) -> Meter {
    let rates = book.rates(org, model);
    match rates.cached_input_token > rates.input_token {
        true => Meter::CachedInputTokens,
        false => Meter::InputTokens,
    }
}

/// Quotes a function's call: what its author says that it costs at most, or what the caller does; or
/// what its fuel costs at most, where that is less.
pub(crate) async fn function(
    app: &App,
    org: &OrgId,
    live: &Live,
    max_cost: Option<Nano>,
) -> Result<Quote, ApiError> {
    let book = app.billing.prices().await?;
    let mut tally = Tally::default();
    tally.add(None, Meter::Calls, 1);
    let mut lines = tally.lines();
    let billed = Billed { org, author: live.author.as_ref(), provider: None };
    let least = book.charge(&billed, &lines, Markup::Full)?.total;
    let mut amount =
        max_cost.map_or(live.max_cost_per_call, |most| most.min(live.max_cost_per_call));
    if amount < least {
        // Where the author's own limit is too low by now, nothing would come of a call but its cost.
        let whose = if amount < live.max_cost_per_call { "max_cost" } else { "max_cost_per_call" };
        return Err(ApiError::MaxCostExceeded(format!(
            "a call of this function costs at least {least} credits, and its {whose} is {amount}"
        )));
    }
    let (limits, grants) = (live.function.limits(), live.function.grants());
    let has_models = grants.load || !grants.models.is_empty();
    if let Some(fuel_max) = limits.fuel_max.filter(|_| !has_models) {
        // Nothing else is paid by what the guest does, so its limit says what that can cost.
        tally.add(None, Meter::Fuel, fuel_max);
        let most = book.charge(&billed, &tally.lines(), Markup::Full)?.total;
        if most <= amount {
            (amount, lines) = (most, tally.lines());
        }
    }
    let subject = Subject::Function {
        owner: live.owner.clone(),
        name: live.name.clone(),
        version: live.version,
    };
    Ok(Quote { subject, amount, book, author: live.author.clone(), lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_output_that_fits_is_found() {
        for (most, limit, expect) in [
            (256, 300, Some(256)),
            (256, 256, Some(256)),
            (256, 17, Some(17)),
            (1, 0, None),
            (u32::MAX, u32::MAX - 1, Some(u32::MAX - 1)),
            (0, 5, None),
        ] {
            assert_eq!(longest(most, |tokens| *tokens <= limit), expect, "{most} {limit}");
        }
    }

    #[test]
    fn a_quote_is_never_below_the_charge() {
        let org = OrgId::new("acme");
        let mut book = PriceBook::initial();
        let check = |book: &PriceBook, expected: i64| {
            let plan = Plan { input_tokens: 10, output_tokens_max: 5 };
            let quote = of_plan(&Arc::new(book.clone()), &org, ("m", 1), plan).unwrap();
            assert_eq!(quote.amount, Nano::from_nano(expected));
            let quote = of_plan(&Arc::new(book.clone()), &org, ("m", 3), plan).unwrap();
            assert_eq!(quote.amount, Nano::from_nano(expected + 2 * 5 * 400));
        };
        // Initial prices: 100 nano-credits per input token, 50 where it was cached, 400 per output
        // token.
        check(&book, 10 * 100 + 5 * 400);
        book.default_model.cached_input_token = emberbox_billing::Pico::from_pico(200_000);
        check(&book, 10 * 200 + 5 * 400);
        book.default_model.call = emberbox_billing::Pico::from_pico(1);
        check(&book, 10 * 200 + 5 * 400 + 1);
    }
}
