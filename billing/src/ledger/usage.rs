//! Adding receipts up, by subject and key.

use std::collections::BTreeMap;

use crate::capture::Receipt;
use crate::error::BillingError;
use crate::hold::Subject;
use crate::ids::KeyId;
use crate::money::Nano;
use crate::price::Meter;
use crate::report::{UsageRow, UsageSummary};

/// A sum under way.
#[derive(Debug, Default)]
pub(super) struct UsageSum {
    rows: BTreeMap<(Subject, KeyId), UsageRow>,
}

impl UsageSum {
    /// Adds one receipt.
    pub(super) fn add(&mut self, receipt: Receipt) -> Result<(), BillingError> {
        let at = (receipt.subject.clone(), receipt.key.clone());
        let row = self.rows.entry(at).or_insert_with(|| UsageRow {
            subject: receipt.subject,
            key: receipt.key,
            calls: 0,
            input_tokens: 0,
            cached_input_tokens: 0,
            output_tokens: 0,
            compute_micros: 0,
            cost: Nano::ZERO,
        });
        row.calls = row.calls.saturating_add(1);
        row.cost = row.cost.checked_add(receipt.amount).ok_or_else(too_large)?;
        for line in receipt.usage {
            let sum = match line.meter {
                Meter::InputTokens => &mut row.input_tokens,
                Meter::CachedInputTokens => &mut row.cached_input_tokens,
                Meter::OutputTokens => &mut row.output_tokens,
                Meter::ComputeMicros => &mut row.compute_micros,
                // Receipts are the calls.
                Meter::Calls => continue,
            };
            *sum = sum.saturating_add(line.quantity);
        }
        Ok(())
    }

    /// The whole.
    pub(super) fn finish(self, since_ms: u64) -> Result<UsageSummary, BillingError> {
        let rows: Vec<UsageRow> = self.rows.into_values().collect();
        let calls = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.calls));
        let total = Nano::checked_sum(rows.iter().map(|row| row.cost)).ok_or_else(too_large)?;
        Ok(UsageSummary { since_ms, calls, total, rows })
    }
}

fn too_large() -> BillingError {
    BillingError::Invalid("since_ms: the sum does not fit 64-bit nano-credits".to_owned())
}
