//! The accounts that the peers keep, numbered without gaps.

use crate::traffic::{AUTHORS, Call, MODELS, PROVIDERS};

/// What every wallet starts with: a million credits, more than any run spends.
pub(crate) const TOP_UP_NANO: i64 = 1_000_000_000_000_000;

/// Who can pay and be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// The platform.
    Platform,
    /// Who wrote functions.
    Author(u32),
    /// Who owns a model.
    Owner(u32),
    /// Whose machines run calls.
    Provider(u32),
    /// Who pays.
    Wallet(u32),
}

impl Account {
    /// Its number, from 1 on.
    pub(crate) fn id(self) -> i64 {
        let id = match self {
            Self::Platform => 1,
            Self::Author(n) => 2 + n,
            Self::Owner(n) => 2 + AUTHORS + n,
            Self::Provider(n) => 2 + AUTHORS + MODELS + n,
            Self::Wallet(n) => 2 + AUTHORS + MODELS + PROVIDERS + n,
        };
        i64::from(id)
    }

    /// Its name.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Platform => "platform".to_owned(),
            Self::Author(n) => format!("payable:author-{n}"),
            Self::Owner(n) => format!("payable:owner-{n}"),
            Self::Provider(n) => format!("payable:provider-{n}"),
            Self::Wallet(n) => format!("wallet:payer-{n}"),
        }
    }

    /// Who is paid for a call, in the order of [`Call::parts_nano`].
    pub(crate) fn payees(call: Call) -> [Account; 4] {
        [
            Self::Author(call.author()),
            Self::Owner(call.model),
            Self::Provider(call.provider),
            Self::Platform,
        ]
    }
}

/// Every account of a benchmark with so many payers.
pub(crate) fn all_accounts(payers: u32) -> impl Iterator<Item = Account> {
    let payees = (0..AUTHORS)
        .map(Account::Author)
        .chain((0..MODELS).map(Account::Owner))
        .chain((0..PROVIDERS).map(Account::Provider));
    [Account::Platform].into_iter().chain(payees).chain((0..payers).map(Account::Wallet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_numbered_without_gaps() {
        let ids: Vec<i64> = all_accounts(5).map(Account::id).collect();
        let count = i64::try_from(ids.len()).unwrap();
        assert_eq!(ids, (1..=count).collect::<Vec<_>>());
    }
}
