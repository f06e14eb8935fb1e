use std::num::NonZeroU64;
use std::sync::{Arc, LazyLock};

use emberbox_runtime::spend::Computed;
use emberbox_runtime::{
    CallEnding, CallError, CallReport, Deployment, Grants, LimitKind, Limits, Metering,
    RuntimeError,
};

use crate::core_abi::command;
use crate::hostile::PaysComputing;
use crate::support::{ENGINE, Outcome, World, get, grants, hello};

const PLENTY: u64 = 1_000_000_000;

static MISBEHAVE: LazyLock<Deployment> = LazyLock::new(|| {
    let component = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
    deploy(component, limits(PLENTY), Grants::default())
});

fn limits(fuel_max: u64) -> Limits {
    Limits { fuel_max: Some(fuel_max), ..Limits::default() }
}

fn deploy(component: &[u8], limits: Limits, grants: Grants) -> Deployment {
    Deployment::compile(&ENGINE, component, limits, grants).expect("a function")
}

async fn fuel(deployment: &Deployment, path: &str) -> u64 {
    let report = World::new().get(deployment, path).await.answered().report;
    assert_eq!(report.ending, CallEnding::Normal);
    let computed = report.computed();
    assert_eq!(Some(computed.quantity), report.fuel.map(NonZeroU64::get), "{report:?}");
    assert_eq!(computed.metering, Metering::Fuel);
    computed.quantity
}

/// The report of a call that has no answer because its fuel was used up.
fn ended(outcome: Outcome) -> CallReport {
    match outcome {
        Outcome::Failed(CallError::Deadline(report)) => report,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_work_takes_the_same_fuel() {
    let (hello, p3) = (
        &include_bytes!("../../../examples/prebuilt/hello.wasm")[..],
        &include_bytes!("../../../examples/prebuilt/hello-p3.wasm")[..],
    );
    let program = command("", "(call $print (i32.const 42))");
    for (kind, guest) in [("0.2", hello), ("0.3", p3), ("core", &program)] {
        let deployment = deploy(guest, limits(PLENTY), grants());
        let first = fuel(&deployment, "/").await;
        assert!((10..PLENTY).contains(&first), "{kind}: {first}");
        for _ in 0..3 {
            // A guest that asks whether it can go on asks once more where it cannot yet.
            let again = fuel(&deployment, "/").await;
            assert!(again.abs_diff(first) < first / 50, "{kind}: {first} {again}");
        }
    }
}

/// To the instruction: five million rounds of four, and little beside them.
#[tokio::test]
async fn fuel_counts_instructions() {
    let spin = |rounds: u32| {
        let body = format!(
            "(local $left i32) (local.set $left (i32.const {rounds}))
            (loop $more
                (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"
        );
        deploy(&command("", &body), limits(PLENTY), grants())
    };
    let (few, many) = (fuel(&spin(1_000_000), "/").await, fuel(&spin(6_000_000), "/").await);
    let (round, rest) = ((many - few) / 5_000_000, (many - few) % 5_000_000);
    assert!((4..=7).contains(&round) && rest == 0, "{few} {many}");
}

/// One instruction that fills memory costs as much as it fills.
#[tokio::test]
async fn fuel_counts_the_bytes_of_bulk_instructions() {
    let fill = |bytes: u32| {
        let body = format!("(memory.fill (i32.const 0) (i32.const 1) (i32.const {bytes}))");
        deploy(&command("", &body), limits(PLENTY), grants())
    };
    let (little, much) = (fuel(&fill(1), "/").await, fuel(&fill(60_001), "/").await);
    assert_eq!(much - little, 60_000);
}

#[tokio::test]
async fn fuel_ends_where_it_is_used_up() {
    for fuel_max in [3, 70_000_000] {
        let deployment = MISBEHAVE.with(limits(fuel_max), Grants::default()).unwrap();
        let report = ended(World::new().get(&deployment, "/spin").await);
        assert_eq!(report.limit, Some(LimitKind::Fuel));
        assert_eq!(report.detail, Some(format!("it used its {fuel_max} units of fuel").into()));
        let past = report.fuel.unwrap().get() - fuel_max;
        assert!(past < 1_000, "{report:?}");
    }
    // The other limits hold as ever.
    let slow = Limits { cpu_ms_max: 20, fuel_max: Some(1 << 50), ..Limits::default() };
    let deployment = MISBEHAVE.with(slow, Grants::default()).unwrap();
    let report = ended(World::new().get(&deployment, "/spin").await);
    assert_eq!(report.limit, Some(LimitKind::Cpu));
    assert!(report.fuel.unwrap().get() > 1_000_000, "{report:?}");
}

#[tokio::test]
async fn fuel_ends_where_nobody_pays_for_it() {
    let world = World::new();
    let mut call = world.call(get("/spin"));
    call.models = world.models_paid(Arc::new(PaysComputing(20_000_000)));
    let outcome = MISBEHAVE.call(call).await;
    let Err(CallError::Budget(report)) = outcome else { panic!("{outcome:?}") };
    assert!((20_000_001..PLENTY).contains(&report.fuel.unwrap().get()), "{report:?}");
}

#[tokio::test]
async fn each_call_of_an_instance_has_its_own_fuel() {
    let reused = Grants { reuse: true, ..grants() };
    let deployment = MISBEHAVE.with(limits(PLENTY), reused).unwrap();
    let first = fuel(&deployment, "/count").await;
    let second = fuel(&deployment, "/count").await;
    assert!(second < first, "the instance is there already: {first} {second}");
    let tight = Grants { reuse: true, ..grants() };
    let deployment = MISBEHAVE.with(limits(first), tight).unwrap();
    for _ in 0..20 {
        fuel(&deployment, "/count").await;
    }
}

#[tokio::test]
async fn code_counts_what_it_was_compiled_for() {
    let report = World::new().get(&hello(), "/").await.answered().report;
    assert_eq!(report.fuel, None);
    let expect = Computed { metering: Metering::Cpu, quantity: report.cpu_us };
    assert_eq!(report.computed(), expect);
    for refused in [
        hello().with(limits(PLENTY), Grants::default()),
        MISBEHAVE.with(Limits::default(), Grants::default()),
        hello().with(limits(0), Grants::default()),
    ] {
        let refused = refused.err();
        assert!(
            matches!(refused, Some(RuntimeError::Limit { field: "fuel_max", .. })),
            "{refused:?}"
        );
    }
}

/// What counting costs: the same sums, with and without it.
#[tokio::test]
#[ignore = "a measurement"]
async fn the_price_of_counting() {
    let sieve = "
        (local $of i32) (local $at i32) (local $round i32)
        (loop $rounds
            (local.set $of (i32.const 2))
            (loop $primes
                (local.set $at (i32.add (local.get $of) (local.get $of)))
                (loop $multiples
                    (i32.store8 offset=1024 (local.get $at) (i32.const 1))
                    (local.set $at (i32.add (local.get $at) (local.get $of)))
                    (br_if $multiples (i32.lt_u (local.get $at) (i32.const 60000))))
                (local.set $of (i32.add (local.get $of) (i32.const 1)))
                (br_if $primes (i32.lt_u (local.get $of) (i32.const 30000))))
            (local.set $round (i32.add (local.get $round) (i32.const 1)))
            (br_if $rounds (i32.lt_u (local.get $round) (i32.const 100))))";
    let program = command("", sieve);
    let counted = deploy(&program, limits(u64::from(u32::MAX)), grants());
    let plain = deploy(&program, Limits::default(), grants());
    for _ in 0..5 {
        let plain = World::new().get(&plain, "/").await.answered().report.cpu_us;
        let report = World::new().get(&counted, "/").await.answered().report;
        let (counted, fuel) = (report.cpu_us, report.fuel.unwrap().get());
        println!("{plain} us, counted {counted} us for {fuel} units");
    }
}
