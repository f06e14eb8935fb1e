//! The root of the fuzz target's crate, not a module of this one: what reads a manifest, without the
//! rest of the gateway.
#![expect(dead_code, reason = "what a server does with a manifest is left out")]

mod call_limits;
mod egress {
    pub(crate) mod rules;
}
mod config {
    pub use crate::egress::rules::Rules;
}
/// What a function's author declares.
pub mod manifest;

use call_limits::CallLimits;
use manifest::{MANIFEST_BYTES_MAX, MODELS_MAX, Manifest};

/// Any text is refused with a reason, or read the same each time and within what any server can
/// give.
pub fn check(text: &str) {
    match Manifest::parse(text) {
        Ok(manifest) => {
            assert!(text.len() <= MANIFEST_BYTES_MAX && manifest.models.len() <= MODELS_MAX);
            assert!(manifest.max_cost_per_call.as_nano() > 0);
            assert!(manifest.price.call_fee <= manifest.max_cost_per_call);
            let limits = manifest.limits.for_sandbox(manifest.metering);
            assert!(limits.validate(u64::MAX).is_ok(), "{limits:?}");
            let within = manifest.limits.within(&CallLimits::ALLOWED);
            for limit in call_limits::ALL {
                assert!(limit.get(&within) <= limit.get(&CallLimits::ALLOWED), "{}", limit.name);
            }
            assert_eq!(Manifest::parse(text).ok(), Some(manifest));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
