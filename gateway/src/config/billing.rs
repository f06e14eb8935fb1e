use std::str::FromStr;

/// Whether calls are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// Holds, captures and receipts in the ledger: the default.
    Metered,
    /// Prices are computed, nothing is stored or refused. For operators who do not bill.
    Unmetered,
}

impl FromStr for Billing {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "metered" => Ok(Billing::Metered),
            "unmetered" => Ok(Billing::Unmetered),
            _ => Err("expected \"metered\" or \"unmetered\""),
        }
    }
}
