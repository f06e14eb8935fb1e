//! Any bytes as an upload: refused, or compiled and called.
#![no_main]

#[path = "../../tests/sandbox/echo.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod echo;
#[path = "../../tests/sandbox/purse.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod purse;
mod world;

use emberbox_runtime::Deployment;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (limits, grants) = (world::limits(), world::grants());
    if let Ok(deployment) = Deployment::compile(&world::ENGINE, data, limits, grants) {
        world::call(&deployment, b"once upon");
    }
});
