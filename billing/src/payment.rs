//! Payments: what a payment provider tells by webhook, in Stripe's shape, turned into orders.
//!
//! [`PaymentWebhook::receive`] checks the signature, reads the event, and says what is to be
//! done. It does nothing itself: no clock, no socket, no ledger.
//!
//! # Replay protection
//!
//! The operation id of the order is made of the provider's own objects, never of the event, so
//! that the same event sent twice, and two events about the same payment, are one posting:
//!
//! | event | operation id | act |
//! |---|---|---|
//! | `checkout.session.completed` (paid), `checkout.session.async_payment_succeeded`, `payment_intent.succeeded` | `stripe:{payment intent}:paid` | top-up of what was paid |
//! | `charge.refunded` | `stripe:{charge}:refund:{refunded in all, in minor units}` | chargeback of what this refund adds |
//! | `charge.dispute.created`, `charge.dispute.funds_withdrawn` | `stripe:{dispute}:withdrawn` | chargeback of what is disputed |
//! | `charge.dispute.closed` (won) | `stripe:{dispute}:reinstated` | top-up of the same |
//!
//! Nothing else of an event enters the order, so that the three events of one payment make the
//! same payload, and the ledger answers the second as the first. Should two of them name
//! different amounts, or should the rate have changed in between, the ledger answers
//! [`crate::BillingError::Conflict`]: the payment was posted once, and the provider can be
//! answered with success; the operator should look at it.
//!
//! # What the operator sets up
//!
//! `metadata.emberbox_org` names the organisation. It belongs on the payment intent (for
//! Checkout: `payment_intent_data.metadata`), from which the provider copies it to the charge and
//! so to refunds, and on the Checkout session too. Events without it are somebody else's and
//! are ignored. A dispute has no metadata of its own: its payer is found by the payment that was
//! credited ([`Unattributed`]).
//!
//! A refund that the provider takes back later (`charge.refund.updated`, failed) and one of a
//! payment that was captured in part are left to the operator's own adjustment.

use std::fmt;

use crate::BillingError;

mod signature; // Who sent it, and when.
mod event; // What it says, as an order.
mod rates; // What money is worth in credits.

pub use event::{Instruction, PaymentEvent, Unattributed, payer};
pub use rates::CreditRates;

/// The most bytes of an event.
pub const PAYMENT_BODY_BYTES_MAX: usize = 256 * 1024;
/// The most bytes of a `Stripe-Signature` header.
pub const PAYMENT_HEADER_BYTES_MAX: usize = 2048;
/// How far the time of a signature may be from now, in seconds, either way.
pub const PAYMENT_TOLERANCE_S: u64 = 300;
/// The most secrets that are valid at once.
const SECRETS_MAX: usize = 8;
/// A shorter secret is a mistake.
const SECRET_BYTES_MIN: usize = 16;

/// Why an event was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// There is no signature.
    #[error("the header Stripe-Signature is missing")]
    SignatureMissing,
    /// The signature cannot be read.
    #[error("the header Stripe-Signature is malformed: {0}")]
    SignatureMalformed(String),
    /// Nobody who knows a secret has signed this body at this time.
    #[error("no signature in Stripe-Signature matches this body")]
    SignatureMismatch,
    /// It was signed too long ago: it may be a replay.
    #[error("the event was signed {age_s} s ago, at most {PAYMENT_TOLERANCE_S} s are accepted")]
    TooOld {
        /// How long ago.
        age_s: u64,
    },
    /// It claims to be signed in the future.
    #[error("the event was signed {ahead_s} s in the future: is a clock wrong?")]
    FromTheFuture {
        /// How far.
        ahead_s: u64,
    },
    /// The body is too long.
    #[error("the event has more than {PAYMENT_BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// It is signed, and it is not understood; the text names the field.
    #[error("the event is not understood: {0}")]
    Malformed(String),
    /// It is signed, and nobody has said what this currency is worth.
    #[error("no rate is configured for payments in `{0}`")]
    UnknownCurrency(String),
}

impl PaymentError {
    /// Whether the sender is known to be the provider. If not, the answer should tell little,
    /// and the operator need not be told.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        match self {
            PaymentError::Malformed(_) | PaymentError::UnknownCurrency(_) => true,
            PaymentError::SignatureMissing
            | PaymentError::SignatureMalformed(_)
            | PaymentError::SignatureMismatch
            | PaymentError::TooOld { .. }
            | PaymentError::FromTheFuture { .. }
            | PaymentError::TooLarge => false,
        }
    }
}

/// The receiving end of a payment provider's webhook.
#[derive(Clone)]
pub struct PaymentWebhook {
    secrets: Vec<String>,
    rates: CreditRates,
}

/// The secrets stay out of logs.
impl fmt::Debug for PaymentWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentWebhook").field("rates", &self.rates).finish_non_exhaustive()
    }
}

impl PaymentWebhook {
    /// Takes the endpoint's secrets as the provider shows them (`whsec_…`, several while they
    /// are rolled over, or for test and live mode), and what money is worth.
    ///
    /// # Errors
    /// [`BillingError::Invalid`] where there is no secret, there are more than eight, or one
    /// is shorter than 16 bytes.
    pub fn new(secrets: Vec<String>, rates: CreditRates) -> Result<PaymentWebhook, BillingError> {
        if secrets.is_empty() || secrets.len() > SECRETS_MAX {
            let reason = format!("payments: 1 to {SECRETS_MAX} webhook secrets are needed");
            return Err(BillingError::Invalid(reason));
        }
        if secrets.iter().any(|secret| secret.len() < SECRET_BYTES_MIN) {
            let reason = format!("payments: a webhook secret is shorter than {SECRET_BYTES_MIN}");
            return Err(BillingError::Invalid(reason));
        }
        Ok(PaymentWebhook { secrets, rates })
    }

    /// Checks who sent `body` and when, and reads it. `header` is that of `Stripe-Signature`,
    /// `now_s` the time in seconds since 1970.
    ///
    /// # Errors
    /// [`PaymentError`], as it says.
    pub fn verify(
        &self,
        header: Option<&str>,
        body: &[u8],
        now_s: u64,
    ) -> Result<PaymentEvent, PaymentError> {
        signature::verify(&self.secrets, header, body, now_s)?;
        PaymentEvent::read(body)
    }

    /// What a verified event asks for.
    ///
    /// # Errors
    /// [`PaymentError::Malformed`] or [`PaymentError::UnknownCurrency`].
    pub fn instruction(&self, event: &PaymentEvent) -> Result<Instruction, PaymentError> {
        event.instruction(&self.rates)
    }

    /// Both in one: what is to be done because of this request.
    ///
    /// # Errors
    /// [`PaymentError`], as it says.
    pub fn receive(
        &self,
        header: Option<&str>,
        body: &[u8],
        now_s: u64,
    ) -> Result<Instruction, PaymentError> {
        self.instruction(&self.verify(header, body, now_s)?)
    }
}

#[cfg(test)]
mod tests;
