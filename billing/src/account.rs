//! Accounts and transfers: the double-entry part of the model.

use crate::error::Refusal;
use crate::ids::{HoldId, OrgId};
use crate::money::Nano;
use crate::report::Balance;

/// The chart of accounts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Account {
    /// What an organisation can spend. Never overdrawn.
    Wallet(OrgId),
    /// What is owed to an author.
    Payable(OrgId),
    /// What the platform earned.
    Platform,
    /// What rounding parts down left.
    Rounding,
    /// The other side of every hold.
    Clearing,
    /// Where the operator's top-ups come from.
    CashOperator,
}

impl Account {
    /// Its name in the store.
    pub(crate) fn name(&self) -> String {
        match self {
            Account::Wallet(org) => format!("wallet:{org}"),
            Account::Payable(org) => format!("payable:{org}"),
            Account::Platform => "platform".to_owned(),
            Account::Rounding => "rounding".to_owned(),
            Account::Clearing => "clearing".to_owned(),
            Account::CashOperator => "cash:operator".to_owned(),
        }
    }

    /// The account of a name.
    pub(crate) fn parse(name: &str) -> Option<Account> {
        match (name.split_once(':'), name) {
            (Some(("wallet", org)), _) => Some(Account::Wallet(OrgId::new(org))),
            (Some(("payable", org)), _) => Some(Account::Payable(OrgId::new(org))),
            (_, "platform") => Some(Account::Platform),
            (_, "rounding") => Some(Account::Rounding),
            (_, "clearing") => Some(Account::Clearing),
            (_, "cash:operator") => Some(Account::CashOperator),
            _ => None,
        }
    }

    /// Whether posted and held debits must not exceed posted credits.
    pub(crate) fn is_limited(&self) -> bool {
        matches!(self, Account::Wallet(_))
    }
}

/// An account's four counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) debits_posted: Nano,
    pub(crate) credits_posted: Nano,
    pub(crate) debits_held: Nano,
    pub(crate) credits_held: Nano,
}

/// What a transfer does to its two accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferKind {
    /// Adds to what is held.
    Hold,
    /// Takes from what is held.
    Release,
    /// Adds to what is posted.
    Post,
}

/// One line of the journal: the same amount debited and credited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) kind: TransferKind,
    pub(crate) debit: Account,
    pub(crate) credit: Account,
    pub(crate) amount: Nano,
    pub(crate) hold: Option<HoldId>,
}

impl TransferKind {
    /// The number in the store.
    pub(crate) const fn code(self) -> i64 {
        match self {
            TransferKind::Hold => 1,
            TransferKind::Release => 2,
            TransferKind::Post => 3,
        }
    }

    fn moved(self, posted: Nano, held: Nano, amount: Nano) -> Result<(Nano, Nano), Refusal> {
        let fits = |sum: Option<Nano>| {
            sum.filter(|sum| !sum.is_negative()).ok_or(Refusal::BalanceOverflow)
        };
        Ok(match self {
            TransferKind::Hold => (posted, fits(held.checked_add(amount))?),
            TransferKind::Release => (posted, fits(held.checked_sub(amount))?),
            TransferKind::Post => (fits(posted.checked_add(amount))?, held),
        })
    }
}

impl Counters {
    /// After being the debit side of a transfer.
    pub(crate) fn debited(self, kind: TransferKind, amount: Nano) -> Result<Counters, Refusal> {
        let (debits_posted, debits_held) =
            kind.moved(self.debits_posted, self.debits_held, amount)?;
        Ok(Counters { debits_posted, debits_held, ..self })
    }

    /// After being the credit side of a transfer.
    pub(crate) fn credited(self, kind: TransferKind, amount: Nano) -> Result<Counters, Refusal> {
        let (credits_posted, credits_held) =
            kind.moved(self.credits_posted, self.credits_held, amount)?;
        Ok(Counters { credits_posted, credits_held, ..self })
    }

    /// As a wallet. `None` where the counters are beyond reason.
    pub(crate) fn balance(self) -> Option<Balance> {
        let posted = self.credits_posted.checked_sub(self.debits_posted)?;
        let available = posted.checked_sub(self.debits_held)?;
        Some(Balance { posted, held: self.debits_held, available })
    }
}
