use emberbox_runtime::Metering;
use serde_json::{Value, json};

use crate::support::{Server, nano};

const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");
const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
/// The initial price of a call, and of a million units of fuel, in nano-credits.
const CALL: i64 = 1_000;
const MILLION: i64 = 100;

fn used(receipt: &Value, meter: &str) -> Option<u64> {
    let lines = receipt["usage"].as_array()?;
    lines.iter().find(|line| line["meter"] == json!(meter))?["quantity"].as_u64()
}

/// A guest that asks whether it can go on asks once more where it cannot yet.
fn alike(one: u64, other: u64) -> bool {
    one.abs_diff(other) < one / 50
}

/// Calls `hello` so many times; gives what each call has cost and how much fuel it took.
fn calls(server: &Server, times: usize) -> Vec<(i64, u64)> {
    let call = |_| {
        let before = server.newest_receipt().map(|receipt| receipt["id"].clone());
        let answer = server.get("/f/local/hello/");
        assert_eq!(answer.status, 200, "{answer:?}");
        let receipt = server.wait_for_receipt(|receipt| Some(&receipt["id"]) != before.as_ref());
        assert_eq!(used(&receipt, "compute_micros"), None, "{receipt}");
        (nano(&receipt["amount"]), used(&receipt, "fuel").expect("fuel"))
    };
    (0..times).map(call).collect()
}

#[test]
fn a_call_that_pays_for_fuel_costs_the_same_each_time() {
    let server = Server::start();
    assert_eq!(server.deploy("hello", HELLO, "metering = \"fuel\"").status, 201);
    let all = calls(&server, 4);
    let (cost, fuel) = all[0];
    assert!((1_000..1_000_000).contains(&fuel), "{all:?}");
    let of_fuel = (fuel * MILLION.unsigned_abs()).div_ceil(1_000_000);
    assert_eq!(cost, CALL + of_fuel.cast_signed());
    assert!(all.iter().all(|(_, other)| alike(*other, fuel)), "{all:?}");
    // Another way of counting is another version of the same component.
    assert_eq!(server.deploy("hello", HELLO, "").status, 201);
    server.get("/f/local/hello/");
    let receipt = server.wait_for_receipt(|receipt| used(receipt, "compute_micros").is_some());
    assert_eq!(used(&receipt, "fuel"), None);
    let path = "/v1/functions/hello/aliases/live";
    server.send("PUT", path, &server.key, Some(b"{\"version\": 1}")).good();
    let (_, again) = calls(&server, 1)[0];
    assert!(alike(again, fuel), "{again}");
    server.ledger_is_sound();
}

#[test]
fn the_most_that_a_call_can_cost_is_quoted_by_its_fuel() {
    let server = Server::start();
    let rest = "metering = \"fuel\"\n[limits]\nfuel_millions = 50";
    assert_eq!(server.deploy("misbehave", MISBEHAVE, rest).status, 201);
    let ask = json!({ "function": "local/misbehave" });
    let quote = server.post("/v1/quote", &ask).good();
    assert_eq!(nano(&quote["worst_case"]), CALL + 50 * MILLION, "{quote}");
    assert_eq!(used(&json!({ "usage": quote["lines"] }), "fuel"), Some(50_000_000));

    // And so much it does cost, where it goes so far.
    server.get("/f/local/misbehave/spin").refused(504, "deadline_exceeded");
    let receipt = server.wait_for_receipt(|_| true);
    assert_eq!(nano(&receipt["amount"]), CALL + 50 * MILLION, "{receipt}");

    // A caller who pays less is quoted less, and the guest ends where that is used up.
    let ask = json!({ "function": "local/misbehave", "max_cost": "0.000002" });
    let quote = server.post("/v1/quote", &ask).good();
    assert_eq!(nano(&quote["worst_case"]), 2_000, "{quote}");
    assert_eq!(used(&json!({ "usage": quote["lines"] }), "fuel"), None);
    server.ledger_is_sound();
}

#[test]
fn a_model_can_cost_more_than_fuel() {
    let server = Server::start();
    let rest = "metering = \"fuel\"\nmodels = [\"tiny-storyteller\"]\n[limits]\nfuel_millions = 50";
    assert_eq!(server.deploy("misbehave", MISBEHAVE, rest).status, 201);
    let quote = server.post("/v1/quote", &json!({ "function": "local/misbehave" })).good();
    assert_eq!(nano(&quote["worst_case"]), 1_000_000, "what the manifest says: {quote}");
}

#[test]
fn an_operator_can_have_every_call_pay_for_fuel() {
    let server = Server::start_with(|config| config.function_limits.metering = Metering::Fuel);
    assert_eq!(server.deploy("hello", HELLO, "").status, 201);
    let all = calls(&server, 2);
    assert!(alike(all[0].1, all[1].1), "{all:?}");
    server.ledger_is_sound();
}
