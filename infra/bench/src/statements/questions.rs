//! The questions that statements are made of, as the product asks them: sums over days come from
//! the ledger by day, key, subject and model, and are added up here as the reader wants them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use emberbox_billing::{
    CallId, Day, Nano, OrgId, Period, Receipt, ReceiptQuery, Subject, UsageRow, invoice,
};

use crate::ours::{Ours, payer_name};
use crate::statements::history::{History, call_id};

/// Receipts on a page.
const RECEIPTS_PER_PAGE: u32 = 100;
/// How long before the end the month is that is asked for: it has ended, and lies in the middle.
const MONTH_BACK_MS: u64 = 40 * 86_400_000;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// What an organisation has.
    Balance,
    /// One receipt, by its call.
    Receipt,
    /// The newest receipts.
    ReceiptsNewest,
    /// A page of receipts from the middle of the history.
    ReceiptsMiddle,
    /// Use and cost of a month, by day.
    UsageByDay,
    /// Use and cost of a month, by key.
    UsageByKey,
    /// Use and cost of a month, by function and model.
    UsageBySubject,
    /// The invoice of a month, as the product writes it.
    Invoice,
}

/// Whom to ask about, and when.
pub(crate) struct Asked {
    ours: Arc<Ours>,
    org: OrgId,
    month: Period,
    middle: CallId,
    receipt: CallId,
    /// When it is asked, in milliseconds since 1970.
    now_ms: u64,
    /// Calls of the organisation.
    pub(crate) calls: u64,
}

impl Asked {
    pub(crate) async fn new(
        ours: &Arc<Ours>,
        history: &History,
        payer: u32,
    ) -> anyhow::Result<Self> {
        let org = payer_name(payer);
        let (first, last) = (Day::of(history.at_ms(0)), Day::of(history.ends_at_ms()));
        let rows = ours.billing.usage(&org, first, last).await?;
        let calls = rows.iter().map(|row| row.sums.calls).sum();
        let middle_ms = history.at_ms(0).midpoint(history.ends_at_ms());
        let month = Period::of(history.ends_at_ms() - MONTH_BACK_MS);
        let (ours, middle) = (Arc::clone(ours), call_id(middle_ms, 0));
        let now_ms = history.ends_at_ms();
        let mut asked = Self { ours, org, month, middle, receipt: middle, now_ms, calls };
        let page = asked.page(Some(middle)).await?;
        asked.receipt = page.first().context("the organisation has no receipt")?.call;
        Ok(asked)
    }

    async fn page(&self, before: Option<CallId>) -> anyhow::Result<Vec<Receipt>> {
        let query = ReceiptQuery { org: self.org.clone(), before, limit: RECEIPTS_PER_PAGE };
        Ok(self.ours.billing.receipts(query).await?)
    }

    async fn month(&self) -> anyhow::Result<Vec<UsageRow>> {
        let (first, last) = (self.month.first_day(), self.month.last_day());
        Ok(self.ours.billing.usage(&self.org, first, last).await?)
    }

    /// How many lines and movements the invoice has.
    async fn invoice(&self) -> anyhow::Result<usize> {
        let (billing, now_ms) = (self.ours.billing.as_ref(), self.now_ms);
        let name = self.org.as_str();
        let invoice = invoice(billing, &self.org, name, self.month, now_ms).await?;
        Ok(invoice.lines.len() + invoice.movements.len())
    }
}

impl Question {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Balance,
        Self::Receipt,
        Self::ReceiptsNewest,
        Self::ReceiptsMiddle,
        Self::UsageByDay,
        Self::UsageByKey,
        Self::UsageBySubject,
        Self::Invoice,
    ];

    /// Its name in rows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::Receipt => "receipt",
            Self::ReceiptsNewest => "receipts-newest-100",
            Self::ReceiptsMiddle => "receipts-middle-100",
            Self::UsageByDay => "usage-month-by-day",
            Self::UsageByKey => "usage-month-by-key",
            Self::UsageBySubject => "usage-month-by-subject",
            Self::Invoice => "invoice-month",
        }
    }

    /// Asks it. How many rows the answer has; an empty answer is none.
    pub(crate) async fn ask(self, asked: &Asked) -> anyhow::Result<usize> {
        let rows = match self {
            Self::Balance => {
                let balance = asked.ours.billing.balance(&asked.org).await?;
                usize::from(balance.posted > Nano::ZERO)
            }
            Self::Receipt => {
                let receipt = asked.ours.billing.receipt(&asked.org, asked.receipt).await?;
                receipt.iter().count()
            }
            Self::ReceiptsNewest => asked.page(None).await?.len(),
            Self::ReceiptsMiddle => asked.page(Some(asked.middle)).await?.len(),
            Self::UsageByDay => sums(&asked.month().await?, |row| row.day),
            Self::UsageByKey => sums(&asked.month().await?, |row| row.key.clone()),
            Self::UsageBySubject => {
                sums(&asked.month().await?, |row| (subject(row), row.model.clone()))
            }
            Self::Invoice => asked.invoice().await?,
        };
        ensure!(rows > 0, "{} was answered with nothing", self.name());
        Ok(rows)
    }
}

/// The subject of a row, as it is written on a statement.
fn subject(row: &UsageRow) -> String {
    match &row.subject {
        Subject::Model(model) => model.clone(),
        Subject::Function { owner, name, version } => format!("{owner}/{name}@{version}"),
    }
}

/// Adds cost up by a key and tells how many sums there are.
fn sums<K: Ord>(rows: &[UsageRow], key: impl Fn(&UsageRow) -> K) -> usize {
    let mut sums: BTreeMap<K, (u64, i64)> = BTreeMap::new();
    for row in rows {
        let (calls, nano) = sums.entry(key(row)).or_default();
        *calls += row.sums.calls;
        *nano += row.sums.cost.as_nano();
    }
    sums.len()
}
