//! Accounts and transfers: the double-entry part of the model.

use crate::error::Refusal;
use crate::ids::{BudgetId, LotId, OrgId};
use crate::money::Nano;

/// The chart of accounts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Account {
    /// What an organisation bought and can spend. Never overdrawn.
    Wallet(OrgId),
    /// Credits that were granted together. Never overdrawn.
    Lot(LotId),
    /// What an organisation owes: late captures and money taken back. New holds wait for it.
    Receivable(OrgId),
    /// What is owed to an author, a model's owner or a provider.
    Payable(OrgId),
    /// What the platform earned.
    Platform,
    /// What free credits cost: granted from here, and spent back to here.
    Promo,
    /// What expired before it was spent.
    Breakage,
    /// What rounding parts down left.
    Rounding,
    /// The other side of every hold.
    Clearing,
    /// What an operator's adjustment has yet to explain.
    Suspense,
    /// Where money comes in and goes out, such as `cash:operator` or `cash:stripe`.
    Cash(String),
    /// What may still be spent in the present window of a budget. Never overdrawn. Not money:
    /// its asset is `budget`.
    Budget(BudgetId),
    /// The other side of a budget. Each has its own: what one is made to count reaches no other.
    BudgetClearing(BudgetId),
}

/// What an account counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Asset {
    /// Money.
    Credit,
    /// Permission to spend.
    Budget,
}

impl Asset {
    /// Its name in the store.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Asset::Credit => "credit",
            Asset::Budget => "budget",
        }
    }
}

impl Account {
    /// Its name in the store.
    pub(crate) fn name(&self) -> String {
        match self {
            Account::Wallet(org) => format!("wallet:{org}"),
            Account::Lot(lot) => format!("lot:{lot}"),
            Account::Receivable(org) => format!("receivable:{org}"),
            Account::Payable(org) => format!("payable:{org}"),
            Account::Platform => "platform".to_owned(),
            Account::Promo => "promo".to_owned(),
            Account::Breakage => "breakage".to_owned(),
            Account::Rounding => "rounding".to_owned(),
            Account::Clearing => "clearing".to_owned(),
            Account::Suspense => "suspense".to_owned(),
            Account::Cash(rail) => format!("cash:{rail}"),
            Account::Budget(budget) => format!("budget:{budget}"),
            Account::BudgetClearing(budget) => format!("budgets:{budget}"),
        }
    }

    /// The account of a name.
    pub(crate) fn parse(name: &str) -> Option<Account> {
        match (name.split_once(':'), name) {
            (Some(("wallet", org)), _) => Some(Account::Wallet(OrgId::new(org))),
            (Some(("lot", lot)), _) => lot.parse().ok().map(LotId).map(Account::Lot),
            (Some(("receivable", org)), _) => Some(Account::Receivable(OrgId::new(org))),
            (Some(("payable", org)), _) => Some(Account::Payable(OrgId::new(org))),
            (Some(("cash", rail)), _) => Some(Account::Cash(rail.to_owned())),
            (Some(("budget", budget)), _) => budget.parse().ok().map(BudgetId).map(Account::Budget),
            (Some(("budgets", budget)), _) => {
                budget.parse().ok().map(BudgetId).map(Account::BudgetClearing)
            }
            (_, "platform") => Some(Account::Platform),
            (_, "promo") => Some(Account::Promo),
            (_, "breakage") => Some(Account::Breakage),
            (_, "rounding") => Some(Account::Rounding),
            (_, "clearing") => Some(Account::Clearing),
            (_, "suspense") => Some(Account::Suspense),
            _ => None,
        }
    }

    /// Whether posted and held debits must not exceed posted credits.
    pub(crate) const fn is_limited(&self) -> bool {
        matches!(self, Account::Wallet(_) | Account::Lot(_) | Account::Budget(_))
    }

    /// What it counts.
    pub(crate) const fn asset(&self) -> Asset {
        match self {
            Account::Budget(_) | Account::BudgetClearing(_) => Asset::Budget,
            _ => Asset::Credit,
        }
    }

    /// The account on the other side of what is held in this one.
    pub(crate) const fn clearing(&self) -> Account {
        match self {
            Account::Budget(budget) => Account::BudgetClearing(*budget),
            _ => Account::Clearing,
        }
    }

    /// The class that a trial balance sums it in: the name up to the colon.
    pub(crate) fn class(&self) -> String {
        let name = self.name();
        match self {
            Account::Cash(_) => name,
            _ => name.split_once(':').map_or(name.clone(), |(class, _)| class.to_owned()),
        }
    }
}

/// An account's four counters. All of them only grow, except what is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) debits_posted: Nano,
    pub(crate) credits_posted: Nano,
    pub(crate) debits_held: Nano,
    pub(crate) credits_held: Nano,
}

/// Why a transfer was made. The number is what the store keeps; it is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Purpose {
    /// A call's charge: the platform's part.
    Platform,
    /// A call's charge: the author's part.
    Author,
    /// A call's charge: the model owner's part.
    ModelOwner,
    /// A call's charge: the provider's part.
    Provider,
    /// A call's charge: what rounding left.
    Rounding,
    /// A call's charge: what free credits paid.
    Promo,
    /// A call's charge, counted by a budget.
    BudgetSpent,
    /// Money came in.
    TopUp,
    /// Money was taken back.
    Chargeback,
    /// Credits were granted.
    Grant,
    /// Granted credits expired.
    Breakage,
    /// A receivable was settled from the wallet.
    Settlement,
    /// A call's charge was given back.
    Refund,
    /// The operator corrected a balance.
    Adjustment,
    /// A payable was paid out.
    Payout,
    /// A budget's window was opened, or its limit changed.
    BudgetLimit,
}

impl Purpose {
    const ALL: [Purpose; 16] = [
        Purpose::Platform,
        Purpose::Author,
        Purpose::ModelOwner,
        Purpose::Provider,
        Purpose::Rounding,
        Purpose::Promo,
        Purpose::BudgetSpent,
        Purpose::TopUp,
        Purpose::Chargeback,
        Purpose::Grant,
        Purpose::Breakage,
        Purpose::Settlement,
        Purpose::Refund,
        Purpose::Adjustment,
        Purpose::Payout,
        Purpose::BudgetLimit,
    ];

    /// The number in the store.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Purpose::Platform => 1,
            Purpose::Author => 2,
            Purpose::ModelOwner => 3,
            Purpose::Provider => 4,
            Purpose::Rounding => 5,
            Purpose::Promo => 6,
            Purpose::BudgetSpent => 7,
            Purpose::TopUp => 8,
            Purpose::Chargeback => 9,
            Purpose::Grant => 10,
            Purpose::Breakage => 11,
            Purpose::Settlement => 12,
            Purpose::Refund => 13,
            Purpose::Adjustment => 14,
            Purpose::Payout => 15,
            Purpose::BudgetLimit => 16,
        }
    }

    /// The purpose of a number.
    pub(crate) fn of_code(code: i64) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|purpose| purpose.code() == code)
    }
}

/// One line of the journal: the same amount debited and credited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) purpose: Purpose,
    pub(crate) debit: Account,
    pub(crate) credit: Account,
    pub(crate) amount: Nano,
}

impl Counters {
    /// What a limited account can still spend: credits less debits, posted and held. Negative
    /// for accounts that may owe.
    pub(crate) fn available(self) -> Nano {
        self.posted().checked_sub(self.debits_held).unwrap_or(Nano::ZERO)
    }

    /// Credits less debits.
    pub(crate) fn posted(self) -> Nano {
        self.credits_posted.checked_sub(self.debits_posted).unwrap_or(Nano::ZERO)
    }

    /// After being the debit side of a transfer.
    pub(crate) fn debited(self, amount: Nano) -> Result<Counters, Refusal> {
        Ok(Counters { debits_posted: grown(self.debits_posted, amount)?, ..self })
    }

    /// After being the credit side of a transfer.
    pub(crate) fn credited(self, amount: Nano) -> Result<Counters, Refusal> {
        Ok(Counters { credits_posted: grown(self.credits_posted, amount)?, ..self })
    }

    /// After something was held (or, below zero, released) on the debit side.
    pub(crate) fn holding(self, amount: Nano) -> Result<Counters, Refusal> {
        Ok(Counters { debits_held: grown(self.debits_held, amount)?, ..self })
    }

    /// After something was held (or, below zero, released) on the credit side.
    pub(crate) fn owing(self, amount: Nano) -> Result<Counters, Refusal> {
        Ok(Counters { credits_held: grown(self.credits_held, amount)?, ..self })
    }
}

fn grown(counter: Nano, amount: Nano) -> Result<Nano, Refusal> {
    let sum = counter.checked_add(amount).filter(|sum| !sum.is_negative());
    sum.ok_or(Refusal::BalanceOverflow)
}
