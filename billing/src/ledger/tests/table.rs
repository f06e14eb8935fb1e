//! How a row of a case is read: what is tried, `->`, and what comes of it. Amounts are
//! nano-credits; a call's tokens cost 400 each.

use std::collections::HashMap;

use super::agree;
use super::*;
use crate::hold::Holder;
use crate::order::{AutoTopUp, Endpoint, Funding, Grant, Platform, Scope, Window};
use crate::price::{AuthorPrice, NewPriceBook, ProviderShare, Royalty};
use crate::report::{EntryQuery, ReceiptQuery};

/// A case under way.
struct Case<'a> {
    bench: &'a Bench,
    ledger: Ledger,
    orders: u32,
}

/// Runs the rows of a case on a new ledger, and audits it at the end.
pub(super) async fn check(bench: &Bench, name: &str, rows: &str) {
    let mut case = Case { bench, ledger: bench.open(), orders: 0 };
    let rows = rows.lines().map(str::trim).filter(|row| !row.is_empty() && !row.starts_with('#'));
    for row in rows {
        let (tried, expected) = row.split_once("->").unwrap_or((row, "ok"));
        let outcome = case.try_row(tried.trim()).await;
        assert_eq!(outcome.trim_end(), expected.trim(), "{name}: {row}");
    }
    assert_sound(&case.ledger).await;
    case.ledger.close().await.unwrap();
}

/// The words of a row and its options `key=value`.
struct Words<'a> {
    plain: Vec<&'a str>,
    options: HashMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(row: &'a str) -> Words<'a> {
        let (options, plain): (Vec<_>, Vec<_>) =
            row.split_whitespace().partition(|word| word.contains('='));
        let options = options.iter().map(|option| option.split_once('=').unwrap()).collect();
        Words { plain, options }
    }

    fn text(&self, at: usize) -> String {
        self.plain.get(at).copied().unwrap_or_else(|| panic!("word {at} is missing")).to_owned()
    }

    fn org(&self, at: usize) -> OrgId {
        OrgId::new(self.text(at))
    }

    fn nano(&self, at: usize) -> Nano {
        match self.text(at).as_str() {
            "max" => Nano::MAX,
            text => nano(text.parse().unwrap()),
        }
    }

    fn option(&self, name: &str) -> Option<String> {
        self.options.get(name).map(|value| (*value).to_owned())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.option(name).map(|value| value.parse().unwrap())
    }
}

impl Case<'_> {
    async fn try_row(&mut self, row: &str) -> String {
        let words = Words::of(row);
        match words.text(0).as_str() {
            "hold" => self.hold(&words).await,
            "capture" => self.capture(&words).await,
            "void" => {
                let voided = self.ledger.void(words.org(2), call(&words.text(1))).await;
                shown(voided.map(|()| "ok".to_owned()))
            }
            "wait" => {
                self.bench.wait(words.text(1).parse().unwrap());
                "ok".to_owned()
            }
            "clock" => {
                self.bench.clock.store(words.text(1).parse().unwrap(), Ordering::SeqCst);
                "ok".to_owned()
            }
            "restart" => {
                self.ledger.clone().close().await.unwrap();
                self.ledger = self.bench.open();
                "ok".to_owned()
            }
            "balance" | "budgets" | "lots" | "payable" | "messages" | "usage" | "receipt"
            | "receipts" | "earnings" | "entries" | "periods" | "price" => self.ask(&words).await,
            _ => self.order(&words).await,
        }
    }

    async fn hold(&self, words: &Words<'_>) -> String {
        let mut request = hold_of(&words.text(1), 0);
        (request.org, request.amount) = (words.org(2), words.nano(3));
        request.key = KeyId::new(words.option("key").unwrap_or_else(|| "key".to_owned()));
        request.ttl_ms = words.number("ttl").unwrap_or(60_000);
        request.price_version = PriceVersion(words.number("price").unwrap_or(1));
        if let Some(model) = words.option("model") {
            request.subject = Subject::Model(model);
        }
        if let Some(name) = words.option("function") {
            request.subject = Subject::Function { owner: "author".to_owned(), name, version: 1 };
        }
        request.author = words.number("fee").map(|fee| AuthorPrice {
            org: OrgId::new("author"),
            call_fee: nano(i64::try_from(fee).unwrap()),
            compute_markup_bps: 0,
        });
        request.provider = words.number("provider").map(|share_bps| ProviderShare {
            org: OrgId::new("node"),
            share_bps: u32::try_from(share_bps).unwrap(),
        });
        request.holder =
            words.number("epoch").map(|epoch| Holder { gateway: "gateway".to_owned(), epoch });
        match self.ledger.hold(request).await {
            Ok(mut hold) => shown(hold.durable().await.map(|()| "ok".to_owned())),
            Err(error) => shown(Err(error)),
        }
    }

    async fn capture(&self, words: &Words<'_>) -> String {
        let tokens = words.text(3).parse().unwrap();
        let mut request = capture_of(&words.text(1), tokens);
        request.org = words.org(2);
        if let Some(calls) = words.number("calls") {
            request.usage.push(UsageLine { model: None, meter: Meter::Calls, quantity: calls });
        }
        if let Some(ending) = words.option("ending") {
            request.ending = serde_json::from_value(ending.into()).unwrap();
        }
        let captured = self.ledger.capture(request).await;
        shown(captured.map(|captured| {
            let receipt = captured.receipt;
            let parts = receipt.parts.iter().map(|part| {
                let party = format!("{:?}", part.party);
                let party = party.split('(').next().unwrap().to_lowercase();
                format!("{party} {}", part.amount.as_nano())
            });
            let late = if receipt.late { "late " } else { "" };
            let parts: Vec<String> = parts.collect();
            format!("{late}{}: {}", receipt.amount.as_nano(), parts.join(", "))
        }))
    }

    async fn order(&mut self, words: &Words<'_>) -> String {
        self.orders += 1;
        let op = words.option("op").unwrap_or_else(|| format!("order{}", self.orders));
        let act = self.act(words);
        let done = self.ledger.order(order_of(&op, act)).await;
        shown(done.map(|outcome| match outcome {
            Outcome::Balance(balance) => format!("{}", balance.posted.as_nano()),
            Outcome::Granted { lot, .. } => format!("lot {lot}"),
            Outcome::Refunded { amount, in_all, .. } => {
                format!("{} of {}", amount.as_nano(), in_all.as_nano())
            }
            Outcome::PaidOut { matured } => format!("{} left", matured.as_nano()),
            Outcome::Budget(_) | Outcome::Done => "ok".to_owned(),
            Outcome::Priced(book) => format!("version {}", book.version),
            Outcome::Registered { epoch, voided } => format!("epoch {epoch}, {voided} voided"),
        }))
    }

    fn act(&self, words: &Words<'_>) -> Act {
        let payment = || Payment {
            org: words.org(1),
            amount: words.nano(2),
            rail: words.option("rail").unwrap_or_else(|| "operator".to_owned()),
            reference: words.option("reference"),
            note: String::new(),
        };
        let limit = |at: usize| (words.text(at) != "none").then(|| words.nano(at));
        match words.text(0).as_str() {
            "top_up" => Act::TopUp(payment()),
            "chargeback" => Act::Chargeback(payment()),
            "payout" => Act::Payout(payment()),
            "grant" => Act::Grant(self.grant(words)),
            "refund" => Act::Refund {
                org: words.org(2),
                call: call(&words.text(1)),
                amount: (words.text(3) != "all").then(|| words.nano(3)),
                note: "sorry".to_owned(),
            },
            "adjust" => {
                Act::Adjust { org: words.org(1), amount: words.nano(2), note: String::new() }
            }
            "budget" => Act::SetBudget {
                org: words.org(1),
                key: words.option("key").map(KeyId::new),
                window: match words.text(2).as_str() {
                    "day" => Window::Day,
                    "month" => Window::Month,
                    _ => Window::Total,
                },
                limit: limit(3),
            },
            "platform" => Act::SetPlatform(Platform {
                free_tier_per_month: words
                    .number("free")
                    .map_or(Nano::ZERO, |free| nano(i64::try_from(free).unwrap())),
                maturity_days: u32::try_from(words.number("maturity").unwrap_or(30)).unwrap(),
            }),
            "notice" => Act::SetLowBalance { org: words.org(1), below: limit(2) },
            "auto" => Act::SetAutoTopUp {
                org: words.org(1),
                rule: limit(2).map(|below| AutoTopUp {
                    below,
                    amount: words.nano(3),
                    per_month_max: words.text(4).parse().unwrap(),
                }),
            },
            "endpoint" => Act::SetEndpoint {
                org: (words.text(1) != "operator").then(|| words.org(1)),
                endpoint: Some(Endpoint {
                    url: "https://example.org/hook".to_owned(),
                    secret: "whsec_c2VjcmV0".to_owned(),
                }),
            },
            "register" => Act::RegisterGateway { gateway: words.text(1) },
            "prices" => Act::SetPrices(self.book(words)),
            other => panic!("what is `{other}`?"),
        }
    }

    fn grant(&self, words: &Words<'_>) -> Grant {
        let now_ms = self.bench.clock.load(Ordering::SeqCst);
        Grant {
            org: words.org(1),
            amount: words.nano(2),
            funding: match words.option("paid") {
                Some(_) => Funding::Paid,
                None => Funding::Promotional,
            },
            priority: u8::try_from(words.number("priority").unwrap_or(0)).unwrap(),
            expires_at_ms: words.number("expires").map(|ms| now_ms + ms),
            scope: Scope {
                models: words.option("model").into_iter().collect(),
                functions: words.option("function").into_iter().collect(),
            },
            note: String::new(),
        }
    }

    /// A book whose generated tokens cost a given number of pico-credits.
    fn book(&self, words: &Words<'_>) -> NewPriceBook {
        let PriceBook { mut default_model, models, functions, mut royalties, overrides, .. } =
            PriceBook::initial();
        default_model.output_token = crate::money::Pico::from_pico(words.text(1).parse().unwrap());
        if let Some(share_bps) = words.number("royalty") {
            let (org, share_bps) = (OrgId::new("owner"), u32::try_from(share_bps).unwrap());
            royalties.insert("tiny".to_owned(), Royalty { org, share_bps });
        }
        let now_ms = self.bench.clock.load(Ordering::SeqCst);
        let effective_at_ms = words.number("in").map(|ms| now_ms + ms);
        NewPriceBook { effective_at_ms, default_model, models, functions, royalties, overrides }
    }

    async fn ask(&self, words: &Words<'_>) -> String {
        let billing: &dyn Billing = &self.ledger;
        let now_ms = self.bench.clock.load(Ordering::SeqCst);
        let today = crate::calendar::Day::of(now_ms.max(START_MS));
        let first = crate::calendar::Day::of(START_MS);
        match words.text(0).as_str() {
            "balance" => {
                let balance = billing.balance(&words.org(1)).await.unwrap();
                let [posted, held, available, owed] =
                    [balance.posted, balance.held, balance.available, balance.owed]
                        .map(Nano::as_nano);
                let owed = if owed == 0 { String::new() } else { format!(", owes {owed}") };
                format!("{posted} - {held} = {available}{owed}")
            }
            "budgets" => {
                let account = billing.account(&words.org(1)).await.unwrap();
                let row = |b: &crate::report::BudgetReport| {
                    format!("{} + {} of {}", b.spent.as_nano(), b.held.as_nano(), b.limit.as_nano())
                };
                account.budgets.iter().map(row).collect::<Vec<_>>().join("; ")
            }
            "lots" => {
                let account = billing.account(&words.org(1)).await.unwrap();
                let row = |lot: &crate::report::LotReport| {
                    format!("{}: {} + {}", lot.lot, lot.available.as_nano(), lot.held.as_nano())
                };
                account.lots.iter().map(row).collect::<Vec<_>>().join("; ")
            }
            "payable" => {
                let account = billing.account(&words.org(1)).await.unwrap();
                format!("{} ({} matured)", account.payable.as_nano(), account.matured.as_nano())
            }
            "messages" => self.messages().await,
            "usage" => {
                let rows = billing.usage(&words.org(1), first, today).await.unwrap();
                agree::usage(billing, (&words.org(1), first, today), &rows).await;
                let calls: u64 = rows.iter().map(|row| row.sums.calls).sum();
                let tokens: u64 = rows.iter().map(|row| row.sums.output_tokens).sum();
                let cost: i64 = rows.iter().map(|row| row.sums.cost.as_nano()).sum();
                format!("{calls} calls, {tokens} tokens, {cost}")
            }
            "earnings" => {
                let rows = billing.earnings(&words.org(1), first, today).await.unwrap();
                agree::earnings(billing, (&words.org(1), first, today), &rows).await;
                let row = |row: &crate::report::EarningsRow| {
                    format!("{:?} {} for {}", row.role, row.amount.as_nano(), row.calls)
                };
                rows.iter().map(row).collect::<Vec<_>>().join("; ")
            }
            "receipt" | "receipts" | "entries" | "periods" => self.ask_for_rows(words).await,
            _ => format!("version {}", self.ledger.prices().await.unwrap().version),
        }
    }

    async fn ask_for_rows(&self, words: &Words<'_>) -> String {
        let billing: &dyn Billing = &self.ledger;
        match words.text(0).as_str() {
            "receipt" => {
                let receipt = billing.receipt(&words.org(2), call(&words.text(1))).await.unwrap();
                receipt.map_or("none".to_owned(), |receipt| receipt.amount.as_nano().to_string())
            }
            "receipts" => {
                let before = words.option("before").map(|name| call(&name));
                let limit = u32::try_from(words.number("limit").unwrap_or(1000)).unwrap();
                let query = ReceiptQuery { org: words.org(1), before, limit };
                let found = billing.receipts(query).await;
                shown(found.map(|found| {
                    let amounts = found.iter().map(|receipt| receipt.amount.as_nano().to_string());
                    amounts.collect::<Vec<_>>().join(" ")
                }))
            }
            "entries" => {
                let query = EntryQuery {
                    org: words.plain.get(1).map(|org| OrgId::new(*org)),
                    from_ms: 0,
                    to_ms: u64::MAX >> 1,
                    before: None,
                    limit: 1000,
                };
                let entries = billing.entries(query).await.unwrap();
                agree::entries(billing, &entries).await;
                let kind = |entry: &crate::report::Entry| {
                    let json = serde_json::to_value(&entry.act).unwrap();
                    let act = json.as_object().unwrap().values().next().unwrap().clone();
                    act["kind"].as_str().unwrap().to_owned()
                };
                entries.iter().map(kind).collect::<Vec<_>>().join(" ")
            }
            _ => {
                let periods = billing.periods().await.unwrap();
                let of = |close: &crate::report::PeriodClose| {
                    let of_wallets = |row: &&crate::report::TrialBalanceRow| row.class == "wallet";
                    let wallets = close.trial_balance.iter().find(of_wallets);
                    let posted =
                        wallets.map_or(0, |row| row.credits.as_nano() - row.debits.as_nano());
                    format!("{} {posted}", close.period)
                };
                periods.iter().map(of).collect::<Vec<_>>().join("; ")
            }
        }
    }

    async fn messages(&self) -> String {
        let report = self.ledger.ask(Query::Messages { limit: 100 }).await.unwrap();
        let Report::Messages(messages) = report else { panic!("{report:?}") };
        let row = |(message, endpoint): &(crate::message::Message, Option<Endpoint>)| {
            assert!(endpoint.is_some());
            let org = message.org.as_ref().map_or("operator", OrgId::as_str);
            format!("{} to {org}", message.topic)
        };
        messages.iter().map(row).collect::<Vec<_>>().join("; ")
    }
}

fn shown(outcome: Result<String, BillingError>) -> String {
    match outcome {
        Ok(text) => text,
        Err(BillingError::Refused(refusal)) => format!("refused {}", refusal.code()),
        Err(BillingError::Conflict) => "conflict".to_owned(),
        Err(BillingError::UnknownHold) => "unknown".to_owned(),
        Err(BillingError::HoldEnded(end)) => format!("ended: {end}"),
        Err(BillingError::Invalid(reason)) => {
            format!("invalid {}", reason.split(':').next().unwrap())
        }
        Err(error) => format!("{error}"),
    }
}
