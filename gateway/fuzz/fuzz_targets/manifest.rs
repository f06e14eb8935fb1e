//! Any text as a manifest: refused with every mistake, or read the same each time and within what
//! any server allows.
#![no_main]

use declared::manifest::{MANIFEST_BYTES_MAX, MODELS_MAX, Manifest};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => {
            assert!(text.len() <= MANIFEST_BYTES_MAX && manifest.models.len() <= MODELS_MAX);
            assert!(manifest.max_cost_per_call.as_nano() > 0);
            assert!(manifest.price.call_fee <= manifest.max_cost_per_call);
            let limits = manifest.limits.for_sandbox();
            assert!(limits.validate(u64::MAX).is_ok(), "{limits:?}");
            assert_eq!(Manifest::parse(text).ok(), Some(manifest));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
