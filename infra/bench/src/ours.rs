//! Our ledger inside this process, as the gateway embeds it, and the calls that are made on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use async_trait::async_trait;
use emberbox_billing::{
    Act, AuthorPrice, Billing, CallId, CaptureRequest, Clock, Ending, FunctionRates, HoldRequest,
    KeyId, Ledger, LedgerOptions, Meter, Nano, NewPriceBook, OpId, Order, OrgId, Payment, Pico,
    PostgresLedgerOptions, PriceVersion, ProviderShare, Rates, Royalty, Subject, UsageLine,
};

use tokio::task::spawn_blocking;

use crate::closed_loop::Contestant;
use crate::store::{connect, postgres_bytes, sqlite_bytes};
use crate::traffic::{
    AUTHOR_NANO, CALL_NANO, COMPUTE_MS_NANO, Call, HOLD_NANO, INPUT_TOKEN_NANO, MODELS,
    OUTPUT_TOKEN_NANO, OWNER_BPS, PROVIDER_BPS,
};

/// What every wallet starts with: a million credits, more than any run spends.
pub(crate) const TOP_UP: Nano = Nano::from_nano(1_000_000_000_000_000);
/// How long a hold may stay open, in milliseconds. The clock of a fill runs fast.
const HOLD_TTL_MS: u64 = 3_600_000;
/// What the author adds to the price of compute, in basis points.
const MARKUP_BPS: u32 = 1_000;

/// Where our ledger keeps its data.
#[derive(Debug, Clone)]
enum Place {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(String),
}

/// Our ledger with its prices set.
pub(crate) struct Ours {
    /// The ledger.
    pub(crate) billing: Arc<dyn Billing>,
    ledger: Ledger,
    /// The version of the prices.
    prices: PriceVersion,
    place: Place,
}

impl Ours {
    /// Makes a ledger in a SQLite file that is not there yet.
    pub(crate) async fn on_sqlite(path: &Path, clock: Clock) -> anyhow::Result<Self> {
        let path = path.to_owned();
        let options = LedgerOptions { path: path.clone(), clock, ..LedgerOptions::default() };
        let ledger = spawn_blocking(move || Ledger::open(options)).await??;
        Self::new(ledger, Place::Sqlite(path)).await
    }

    /// Makes a ledger in an empty PostgreSQL database.
    pub(crate) async fn on_postgres(url: &str, clock: Clock) -> anyhow::Result<Self> {
        let place = PostgresLedgerOptions::new(url);
        let options = LedgerOptions { clock, ..LedgerOptions::default() };
        let ledger = spawn_blocking(move || Ledger::connect(&place, options)).await??;
        Self::new(ledger, Place::Postgres(url.to_owned())).await
    }

    /// Sets the prices of a ledger that was just made.
    async fn new(ledger: Ledger, place: Place) -> anyhow::Result<Self> {
        let billing: Arc<dyn Billing> = Arc::new(ledger.clone());
        order(&billing, Act::SetPrices(prices())).await?;
        let prices = billing.prices().await?.version;
        Ok(Self { billing, ledger, prices, place })
    }

    /// Closes the ledger. It takes no more calls.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        Ok(self.ledger.clone().close().await?)
    }

    /// Tops up the wallets of so many payers.
    pub(crate) async fn top_up(&self, payers: u32) -> anyhow::Result<()> {
        for payer in 0..payers {
            self.pay_in(payer_name(payer), TOP_UP).await?;
        }
        Ok(())
    }

    /// Puts money into a wallet.
    pub(crate) async fn pay_in(&self, org: OrgId, amount: Nano) -> anyhow::Result<()> {
        let rail = "operator".to_owned();
        let payment = Payment { org, amount, rail, reference: None, note: "bench".to_owned() };
        order(&self.billing, Act::TopUp(payment)).await
    }

    /// The hold of a call.
    pub(crate) fn hold_request(&self, id: CallId, call: Call) -> HoldRequest {
        let author = OrgId::new(format!("author-{}", call.author()));
        HoldRequest {
            call: id,
            org: payer_name(call.payer),
            key: KeyId::new(format!("key-{}-{}", call.payer, call.key)),
            amount: Nano::from_nano(HOLD_NANO),
            price_version: self.prices,
            subject: Subject::Function {
                owner: author.as_str().to_owned(),
                name: format!("function-{}", call.function),
                version: 1,
            },
            author: Some(AuthorPrice {
                org: author,
                call_fee: Nano::from_nano(i64::from(AUTHOR_NANO)),
                compute_markup_bps: MARKUP_BPS,
            }),
            provider: Some(ProviderShare {
                org: OrgId::new(format!("provider-{}", call.provider)),
                share_bps: PROVIDER_BPS,
            }),
            ttl_ms: HOLD_TTL_MS,
            holder: None,
        }
    }

    /// Makes one complete call: holds, waits until the hold is durable, captures.
    pub(crate) async fn complete(&self, id: CallId, call: Call) -> anyhow::Result<()> {
        let mut hold = self.billing.hold(self.hold_request(id, call)).await?;
        hold.durable().await?;
        let captured = self.billing.capture(capture_request(id, call)).await?;
        let parts = captured.receipt.parts.len();
        // Author, model owner, provider and platform; what rounding left may be a fifth.
        ensure!(parts >= 4, "a charge was split among {parts} only");
        Ok(())
    }
}

#[async_trait]
impl Contestant for Ours {
    fn name(&self) -> &'static str {
        "emberbox"
    }

    async fn call(&self, call: Call, _: Instant) -> anyhow::Result<bool> {
        self.complete(CallId::generate(), call).await?;
        Ok(true)
    }

    async fn database_bytes(&self) -> anyhow::Result<u64> {
        match &self.place {
            Place::Sqlite(path) => sqlite_bytes(path),
            Place::Postgres(url) => postgres_bytes(&connect(url).await?).await,
        }
    }
}

/// The capture of a call.
pub(crate) fn capture_request(id: CallId, call: Call) -> CaptureRequest {
    let model = Some(model_name(call.model));
    let line = |model, meter, quantity: u32| UsageLine { model, meter, quantity: quantity.into() };
    let usage = vec![
        line(None, Meter::Calls, 1),
        line(None, Meter::ComputeMicros, call.compute_micros),
        line(model.clone(), Meter::InputTokens, call.input_tokens),
        line(model, Meter::OutputTokens, call.output_tokens),
    ];
    CaptureRequest { org: payer_name(call.payer), call: id, usage, ending: Ending::Normal }
}

/// The name of a payer.
pub(crate) fn payer_name(payer: u32) -> OrgId {
    OrgId::new(format!("payer-{payer}"))
}

fn model_name(model: u32) -> String {
    format!("model-{model}")
}

async fn order(billing: &Arc<dyn Billing>, act: Act) -> anyhow::Result<()> {
    billing.order(Order { op: OpId::generate(), by: "bench".to_owned(), act }).await?;
    Ok(())
}

/// The prices of the traffic.
fn prices() -> NewPriceBook {
    let nano = |nano: u32| Pico::from_pico(u64::from(nano) * 1_000);
    let rates = Rates {
        input_token: nano(INPUT_TOKEN_NANO),
        cached_input_token: nano(INPUT_TOKEN_NANO),
        output_token: nano(OUTPUT_TOKEN_NANO),
        call: Pico::ZERO,
    };
    let royalty =
        |model| Royalty { org: OrgId::new(format!("owner-{model}")), share_bps: OWNER_BPS };
    NewPriceBook {
        effective_at_ms: None,
        default_model: rates,
        models: (0..MODELS).map(|model| (model_name(model), rates)).collect(),
        functions: FunctionRates {
            call: nano(CALL_NANO),
            compute_ms: nano(COMPUTE_MS_NANO),
            fuel_million: Pico::ZERO,
            egress_megabyte: Pico::ZERO,
        },
        royalties: (0..MODELS).map(|model| (model_name(model), royalty(model))).collect(),
        overrides: Default::default(),
    }
}
