//! Payments that come in by webhook, messages that go out by webhook, and who writes invoices.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use emberbox_billing::{BillingError, CreditRates, Nano, PaymentWebhook};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::reader::Reader;

const SECRETS: &str = "payments.stripe_secrets";
const CA_FILE: &str = "webhooks.ca_file";
const RATES: &str = "payments.credits_per_unit";

/// How money comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payments {
    /// The secrets that sign the payment provider's events (Stripe's shape); without any, events
    /// are not taken.
    pub stripe_secrets: Secrets,
    /// What money is worth in credits.
    pub credits_per_unit: CurrencyRates,
    /// Who writes invoices: name and address, with `|` between lines.
    pub seller: String,
}

/// Texts that do not show themselves in debug output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

/// Credits per unit of a currency, written `usd=10, eur=11.25`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrencyRates(Vec<(String, Nano)>);

/// How messages go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// Whether messages may go to hosts that are not on the public internet, and by `http://`:
    /// for tests and closed networks.
    pub allow_private: bool,
    /// A file of certificates in PEM: authorities that may sign receivers' certificates, beside
    /// those that this machine trusts. For closed networks.
    pub ca_file: Option<String>,
    /// How long one attempt to send a message may take in all, in milliseconds.
    pub attempt_ms: u64,
}

impl Default for Webhooks {
    fn default() -> Self {
        Webhooks { allow_private: false, ca_file: None, attempt_ms: 15_000 }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Reads secrets with commas or spaces between them.
    #[must_use]
    pub fn read(text: &str) -> Self {
        Secrets(words(text).map(str::to_owned).collect())
    }
}

impl FromStr for CurrencyRates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = |word: &str| {
            let (currency, rate) = word.split_once('=').ok_or("expected something like usd=10")?;
            let rate: Nano = rate.parse().map_err(|error: BillingError| error.to_string())?;
            Ok((currency.to_owned(), rate))
        };
        words(text).map(rate).collect::<Result<_, String>>().map(CurrencyRates)
    }
}

/// Words of a text, or of a list as TOML writes it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let between = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '"' | '\'');
    text.split(between).filter(|word| !word.is_empty())
}

impl Payments {
    pub(super) fn read(reader: &mut Reader) -> Payments {
        let mut payments = Payments {
            // No mistake in them can be shown.
            stripe_secrets: Secrets::read(&reader.needed(SECRETS, None)),
            ..Payments::default()
        };
        reader.read(RATES, &mut payments.credits_per_unit);
        reader.read("payments.seller", &mut payments.seller);
        payments
    }

    pub(super) fn check(&self, reader: &mut Reader) {
        let rates = self.rates().map(drop).map_err(|error| error.to_string());
        let rates_are_good = rates.is_ok();
        reader.expect_ok(RATES, rates);
        let listens = !self.stripe_secrets.0.is_empty();
        let priced = !listens || !self.credits_per_unit.0.is_empty();
        reader.expect(priced, RATES, "is missing: what is a payment worth? Such as \"usd=10\"");
        if rates_are_good {
            let webhook = self.webhook().map(drop).map_err(|error| error.to_string());
            reader.expect_ok(SECRETS, webhook);
        }
    }

    /// The receiving end of the payment provider's events, where there is one.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] for secrets or rates that cannot be used; a configuration that was
    /// read has none.
    pub fn webhook(&self) -> Result<Option<PaymentWebhook>, BillingError> {
        if self.stripe_secrets.0.is_empty() {
            return Ok(None);
        }
        PaymentWebhook::new(self.stripe_secrets.0.clone(), self.rates()?).map(Some)
    }

    fn rates(&self) -> Result<CreditRates, BillingError> {
        CreditRates::new(self.credits_per_unit.0.iter().cloned())
    }

    /// Who writes invoices, line by line.
    #[must_use]
    pub fn seller(&self) -> Vec<String> {
        let lines = self.seller.split('|').map(str::trim).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }
}

impl Webhooks {
    pub(super) fn read(reader: &mut Reader) -> Webhooks {
        let mut webhooks = Webhooks::default();
        reader.read("webhooks.allow_private", &mut webhooks.allow_private);
        reader.read_some(CA_FILE, &mut webhooks.ca_file);
        reader.read("webhooks.attempt_ms", &mut webhooks.attempt_ms);
        webhooks
    }

    pub(super) fn check(&self, reader: &mut Reader) {
        reader.at_least_one("webhooks.attempt_ms", self.attempt_ms);
        reader.expect_ok(CA_FILE, self.authorities().map(drop));
    }

    /// How long one attempt may take in all.
    #[must_use]
    pub fn attempt(&self) -> Duration {
        Duration::from_millis(self.attempt_ms)
    }

    /// The certificates of `ca_file`; none where it is not set.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let Some(path) = &self.ca_file else { return Ok(Vec::new()) };
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        match read {
            Ok(found) if Vec::is_empty(&found) => Err(format!("{path} has no certificate")),
            Ok(found) => Ok(found),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn authorities_of_receivers_are_read_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, missing) = (folder.path().join("empty.pem"), folder.path().join("missing.pem"));
        std::fs::write(&empty, "").unwrap();
        for (text, good) in [
            (String::new(), true),
            ("attempt_ms = 0".to_owned(), false),
            (format!("ca_file = {empty:?}"), false),
            (format!("ca_file = {missing:?}"), false),
        ] {
            let parsed = Config::parse(&format!("[webhooks]\n{text}"), []);
            assert_eq!(parsed.is_ok(), good, "{text}: {parsed:?}");
        }
    }

    #[test]
    fn payments_are_read_and_their_secrets_are_not_shown() {
        let secret = "whsec_0123456789abcdef";
        let parse = |text: &str| Config::parse(text, []).map_err(|error| error.mistakes.concat());
        let text = format!(
            "[payments]\nstripe_secrets = ['{secret}']\ncredits_per_unit = 'usd=10, eur=11.25'\n\
             seller = 'Ember Ltd | 1 Road'"
        );
        let config = parse(&text).unwrap();
        assert!(config.payments.webhook().unwrap().is_some());
        assert_eq!(config.payments.seller(), ["Ember Ltd", "1 Road"]);
        assert!(!format!("{config:?}").contains(secret));
        assert!(parse("").unwrap().payments.webhook().unwrap().is_none());
        for (text, expect) in [
            (format!("[payments]\nstripe_secrets = '{secret}'"), "credits_per_unit: is missing"),
            (
                "[payments]\nstripe_secrets = 'short'\ncredits_per_unit = 'usd=1'".to_owned(),
                "secret",
            ),
            ("[payments]\ncredits_per_unit = 'usd=1.0000000001'".to_owned(), "credits_per_unit"),
            ("[payments]\ncredits_per_unit = 'usd=-1'".to_owned(), "not above zero"),
            ("[payments]\ncredits_per_unit = 'usd'".to_owned(), "expected something like usd=10"),
        ] {
            let mistakes = parse(&text).unwrap_err();
            assert!(mistakes.contains(expect), "{expect} in {mistakes}");
            assert!(!mistakes.contains(secret) && !mistakes.contains("'short'"), "{mistakes}");
        }
    }
}
