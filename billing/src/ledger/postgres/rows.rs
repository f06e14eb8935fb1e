//! Calls, holds and transfers as they are read back.

use std::sync::Arc;

use tokio_postgres::Row;

use super::fault::Fault;
use super::names::Names;
use super::values::{Coded, Id, UsageCode, of_json, to_lots, unsigned};
use crate::account::{Account, Purpose, Transfer};
use crate::capture::{Ending, Receipt};
use crate::charge::parts_of;
use crate::hold::HoldTerms;
use crate::ids::{CallId, KeyId, LotId, OrgId, PriceVersion};
use crate::ledger::store::{CallEnd, CallRow};
use crate::money::Nano;
use crate::price::{Meter, UsageLine};

/// The columns that [`Call::read`] takes, of a call named `c`.
pub(super) const CALL: &str = "c.org, c.call, c.ended, c.key, c.subject, c.pinned, c.held, \
    c.amount, c.price_version, c.usage, c.ending, c.refusal, c.held_at_ms, c.ttl_ms, \
    c.ended_at_ms, c.first_transfer, c.transfers, c.lots, \
    t.purposes, t.debits, t.credits, t.amounts";

/// The transfers of a call or entry named `c`, as arrays in a row named `t`.
pub(super) const TRANSFERS: &str = "LEFT JOIN LATERAL (
    SELECT array_agg(transfer.purpose ORDER BY transfer.number) AS purposes,
        array_agg(debit.name ORDER BY transfer.number) AS debits,
        array_agg(credit.name ORDER BY transfer.number) AS credits,
        array_agg(transfer.amount ORDER BY transfer.number) AS amounts
    FROM transfers AS transfer
    JOIN accounts AS debit ON debit.number = transfer.debit
    JOIN accounts AS credit ON credit.number = transfer.credit
    WHERE transfer.number >= c.first_transfer
        AND transfer.number < c.first_transfer + c.transfers) AS t ON c.transfers > 0";

/// A call by its id, and the transfers of its capture.
pub(super) type Past = ((OrgId, CallId), (CallRow, Vec<Transfer>));

/// A call as its row has it: with numbers for names.
pub(super) struct Call {
    org: i32,
    call: CallId,
    ended: i16,
    key: i32,
    subject: i32,
    pinned: i32,
    held: Nano,
    amount: Nano,
    price_version: PriceVersion,
    usage: Vec<UsageCode>,
    ending: Option<i16>,
    refusal: Option<String>,
    held_at_ms: u64,
    ttl_ms: u64,
    ended_at_ms: u64,
    transfers: (u64, u64),
    lots: Vec<(LotId, Nano)>,
    lines: Vec<Transfer>,
}

impl Call {
    pub(super) fn read(row: &Row) -> Result<Call, Fault> {
        let usage: Option<&str> = row.try_get(9)?;
        let transfers: i32 = row.try_get(16)?;
        Ok(Call {
            org: row.try_get(0)?,
            call: CallId::from_uuid(row.try_get::<_, Id>(1)?.0),
            ended: row.try_get(2)?,
            key: row.try_get(3)?,
            subject: row.try_get(4)?,
            pinned: row.try_get(5)?,
            held: nano(row, 6)?,
            amount: nano(row, 7)?,
            price_version: PriceVersion(number(row, 8)?),
            usage: usage.map(of_json).transpose()?.unwrap_or_default(),
            ending: row.try_get(10)?,
            refusal: row.try_get(11)?,
            held_at_ms: number(row, 12)?,
            ttl_ms: number(row, 13)?,
            ended_at_ms: number(row, 14)?,
            transfers: (number(row, 15)?, unsigned(i64::from(transfers))),
            lots: to_lots(row.try_get(17)?)?,
            lines: lines(row, 18)?,
        })
    }

    /// All the numbers of names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = i32> {
        let models = self.usage.iter().map(|code| code.0);
        [self.org, self.key, self.subject, self.pinned].into_iter().chain(models)
    }

    fn terms(&self, names: &Names) -> Result<HoldTerms, Fault> {
        Ok(HoldTerms {
            call: self.call,
            org: OrgId::new(names.text(self.org)?.as_ref()),
            key: KeyId::new(names.text(self.key)?.as_ref()),
            amount: self.held,
            price_version: self.price_version,
            subject: names.subject(self.subject)?,
            pinned: names.pinned(self.pinned)?,
            lots: self.lots.clone(),
            created_at_ms: self.held_at_ms,
            expires_at_ms: self.held_at_ms.saturating_add(self.ttl_ms),
        })
    }

    fn usage(&self, names: &Names) -> Result<Vec<UsageLine>, Fault> {
        let line = |code: &UsageCode| {
            Ok(UsageLine {
                model: names.model(code.0)?,
                meter: Meter::of_code(code.1)?,
                quantity: code.2,
            })
        };
        self.usage.iter().map(line).collect()
    }

    fn ending(&self) -> Result<Ending, Fault> {
        Ending::of_code(self.ending.ok_or_else(|| Fault::damaged("a capture without its ending"))?)
    }

    /// The call as the writer knows it, with its transfers. Which lots were set aside is kept only
    /// where the hold ended by itself: for the others the transfers say which paid.
    pub(super) fn into_row(self, names: &Names) -> Result<Past, Fault> {
        let terms = self.terms(names)?;
        let end = match self.ended {
            1 | 7 => CallEnd::Captured {
                amount: self.amount,
                usage: self.usage(names)?,
                ending: self.ending()?,
                late: self.ended == 7,
            },
            2 => CallEnd::Voided,
            3 => CallEnd::Expired,
            4 => CallEnd::Restarted,
            5 => CallEnd::Refused(of_json(self.refusal.as_deref().unwrap_or_default())?),
            code => return Err(Fault::damaged(format!("a call ended with code {code}"))),
        };
        let key = (terms.org.clone(), terms.call);
        let (ended_at_ms, transfers) = (self.ended_at_ms, self.transfers);
        Ok((key, (CallRow { terms, end, ended_at_ms, transfers }, self.lines)))
    }

    /// The receipt of a captured call.
    pub(super) fn into_receipt(self, names: &Names) -> Result<Receipt, Fault> {
        let usage = (self.usage(names)?, self.ending()?);
        let charged = (self.amount, parts_of(&self.lines));
        let written = (self.ended == 7, self.ended_at_ms);
        Ok(Receipt::new(&self.terms(names)?, usage, charged, written))
    }
}

/// The columns that [`hold`] takes.
pub(super) const HOLD: &str = "org, call, key, subject, pinned, amount, price_version, lots, \
    created_at_ms, expires_at_ms";

/// An open hold.
pub(super) fn hold(row: &Row, names: &Names) -> Result<HoldTerms, Fault> {
    Ok(HoldTerms {
        org: OrgId::new(names.text(row.try_get(0)?)?.as_ref()),
        call: CallId::from_uuid(row.try_get::<_, Id>(1)?.0),
        key: KeyId::new(names.text(row.try_get(2)?)?.as_ref()),
        subject: names.subject(row.try_get(3)?)?,
        pinned: names.pinned(row.try_get(4)?)?,
        amount: nano(row, 5)?,
        price_version: PriceVersion(number(row, 6)?),
        lots: to_lots(row.try_get(7)?)?,
        created_at_ms: number(row, 8)?,
        expires_at_ms: number(row, 9)?,
    })
}

/// The arrays of [`TRANSFERS`] from the column `at` on.
pub(super) fn lines(row: &Row, at: usize) -> Result<Vec<Transfer>, Fault> {
    let column = |offset: usize| at.saturating_add(offset);
    let Some(purposes) = row.try_get::<_, Option<Vec<i16>>>(at)? else { return Ok(Vec::new()) };
    let debits: Vec<&str> = row.try_get(column(1))?;
    let credits: Vec<&str> = row.try_get(column(2))?;
    let amounts: Vec<i64> = row.try_get(column(3))?;
    let sides = debits.into_iter().zip(credits).zip(amounts);
    let line = |(code, ((debit, credit), amount)): (i16, ((&str, &str), i64))| {
        let purpose = Purpose::of_code(i64::from(code));
        Ok(Transfer {
            purpose: purpose.ok_or_else(|| Fault::damaged(format!("no purpose {code}")))?,
            debit: account(debit)?,
            credit: account(credit)?,
            amount: Nano::from_nano(amount),
        })
    };
    purposes.into_iter().zip(sides).map(line).collect()
}

pub(super) fn account(name: &str) -> Result<Account, Fault> {
    Account::parse(name).ok_or_else(|| Fault::damaged(format!("`{name}` is no account")))
}

pub(super) fn nano(row: &Row, column: usize) -> Result<Nano, Fault> {
    Ok(Nano::from_nano(row.try_get(column)?))
}

pub(super) fn number(row: &Row, column: usize) -> Result<u64, Fault> {
    Ok(unsigned(row.try_get(column)?))
}

/// Names of a query for [`Names::learn`].
pub(super) fn names(rows: &[Row]) -> Result<Vec<(i32, Arc<str>)>, Fault> {
    let name = |row: &Row| Ok((row.try_get(0)?, Arc::from(row.try_get::<_, &str>(1)?)));
    rows.iter().map(name).collect()
}
