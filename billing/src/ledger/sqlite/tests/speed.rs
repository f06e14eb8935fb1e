//! Bytes and processor time per complete call (the disk's syncs are measured by the benchmark).
//! By hand:
//! `cargo test --release -p emberbox-billing bytes_and_time -- --ignored --nocapture`.

use super::desk::{function, line};
use super::*;
use crate::hold::HoldTerms;
use crate::ids::OrgId;
use crate::price::Meter;

/// What this thread has computed so far, in nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "a measurement, not a test"]
fn bytes_and_time_per_call() {
    const CALLS: u128 = 200_000;
    const IN_FLIGHT: u128 = 512;
    let bench = Bench::new();
    let mut store = bench.store();
    let mut desk = Desk::default();
    desk.at_ms = START_MS;
    let orgs: Vec<OrgId> = (0..16).map(|n| OrgId::new(format!("org-{n}"))).collect();
    for (number, org) in orgs.iter().enumerate() {
        desk.top_up(&format!("t-{number}"), org, 1_000_000_000_000);
    }
    desk.commit(&mut store);
    let usage = [
        line(None, Meter::Calls, 1),
        line(None, Meter::ComputeMicros, 1_507),
        line(Some("tiny"), Meter::InputTokens, 120),
        line(Some("tiny"), Meter::OutputTokens, 64),
    ];
    let call = |number: u128| {
        let org = orgs[usize::try_from(number % 16).unwrap()].clone();
        HoldTerms { org, call: call_id(number << 16), ..function(number) }
    };
    let mut spent = [0_u64; 3];
    for first in (0..CALLS).step_by(usize::try_from(IN_FLIGHT).unwrap()) {
        let calls: Vec<HoldTerms> = (first..first + IN_FLIGHT).map(call).collect();
        desk.at_ms += 10;
        for terms in &calls {
            desk.open(terms);
        }
        let opened = desk.batch();
        desk.at_ms += 10;
        for terms in &calls {
            desk.capture(terms, &usage, false);
        }
        let captured = desk.batch();
        let wanted = calls.iter().map(|terms| (terms.org.clone(), terms.call)).collect();
        let wanted = Wanted { calls: wanted, ..Wanted::default() };
        let began = cpu_ns();
        assert!(store.find(&wanted).unwrap().calls.is_empty());
        let found = cpu_ns();
        store.commit(&opened).unwrap();
        let held = cpu_ns();
        store.commit(&captured).unwrap();
        spent[0] += found - began;
        spent[1] += held - found;
        spent[2] += cpu_ns() - held;
    }
    Box::new(store).close().unwrap();
    let bytes = std::fs::metadata(bench.path()).unwrap().len();
    let began = cpu_ns();
    let check = assert_sound(&bench);
    let audited = (cpu_ns() - began) / check.captures;
    let [find, hold, capture] = spent.map(|spent| spent / check.captures);
    println!(
        "{} calls, {} transfers: {} bytes per call; per call {find} ns to look for it, {hold} ns \
         for its hold, {capture} ns for its capture, {audited} ns to audit it",
        check.captures,
        check.transfers,
        bytes / check.captures,
    );
}
