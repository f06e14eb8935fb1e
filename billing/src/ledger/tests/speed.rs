//! Complete calls in a closed loop, for profiles. By hand, with the slow disk of `infra/bench`
//! where the time counts:
//! `cargo test --release -p emberbox-billing calls_in_a_closed_loop -- --ignored --nocapture`.

use std::time::Instant;

use super::*;
use crate::hold::Hold;
use crate::money::Pico;
use crate::price::{AuthorPrice, FunctionRates, NewPriceBook, ProviderShare, Rates, Royalty};
use tokio::task::JoinSet;

const ORGS: u64 = 64;
const TIME: Duration = Duration::from_secs(4);

/// The call with a number: a function, shared among its author, a model's owner and a provider.
fn request(number: u64) -> HoldRequest {
    let author = OrgId::new(format!("author-{}", number % 16));
    let call_fee = nano(500);
    HoldRequest {
        call: CallId::generate(),
        org: OrgId::new(format!("payer-{}", number % ORGS)),
        key: KeyId::new(format!("key-{}-{}", number % ORGS, number % 3)),
        amount: nano(100_000),
        price_version: PriceVersion(2),
        subject: Subject::Function {
            owner: author.as_str().to_owned(),
            name: format!("function-{}", number % 32),
            version: 1,
        },
        author: Some(AuthorPrice { org: author, call_fee, compute_markup_bps: 1_000 }),
        provider: Some(ProviderShare {
            org: OrgId::new(format!("provider-{}", number % 3)),
            share_bps: 5_000,
        }),
        ttl_ms: 3_600_000,
        holder: None,
    }
}

fn usage(request: &HoldRequest) -> CaptureRequest {
    let line = |model: Option<&str>, meter, quantity| {
        let model = model.map(str::to_owned);
        UsageLine { model, meter, quantity }
    };
    let usage = vec![
        line(None, Meter::Calls, 1),
        line(None, Meter::ComputeMicros, 4_507),
        line(Some("tiny"), Meter::InputTokens, 120),
        line(Some("tiny"), Meter::OutputTokens, 64),
    ];
    let (org, call) = (request.org.clone(), request.call);
    CaptureRequest { org, call, usage, ending: Ending::Normal }
}

fn prices() -> NewPriceBook {
    let nano = |nano: u64| Pico::from_pico(nano * 1_000);
    let rates = Rates {
        input_token: nano(20),
        cached_input_token: nano(20),
        output_token: nano(60),
        call: Pico::ZERO,
    };
    let royalty = Royalty { org: OrgId::new("owner"), share_bps: 2_000 };
    NewPriceBook {
        effective_at_ms: None,
        default_model: rates,
        models: [("tiny".to_owned(), rates)].into(),
        functions: FunctionRates {
            call: nano(1_000),
            compute_ms: nano(100),
            fuel_million: Pico::ZERO,
            egress_megabyte: Pico::ZERO,
        },
        royalties: [("tiny".to_owned(), royalty)].into(),
        overrides: Default::default(),
    }
}

async fn lane(ledger: Ledger, lane: u64, end: Instant) -> Vec<u128> {
    let mut latencies_us = Vec::new();
    let mut number = lane * 7;
    while Instant::now() < end {
        let began = Instant::now();
        let request = request(number);
        let capture = usage(&request);
        let mut hold: Hold = ledger.hold(request).await.unwrap();
        hold.durable().await.unwrap();
        let captured = ledger.capture(capture).await.unwrap();
        assert!(captured.receipt.parts.len() >= 4);
        latencies_us.push(began.elapsed().as_micros());
        number += 1;
    }
    latencies_us
}

/// What the ledger's threads have computed so far, in nanoseconds.
fn cpu_ns(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        let task = task.ok()?.path();
        let comm = std::fs::read_to_string(task.join("comm")).ok()?;
        let stat = std::fs::read_to_string(task.join("schedstat")).ok()?;
        (comm.trim() == name).then(|| stat.split(' ').next().unwrap().parse::<u64>().unwrap())
    };
    tasks.filter_map(of).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn calls_in_a_closed_loop() {
    let in_flight = std::env::var("IN_FLIGHT").unwrap_or_else(|_| "64,512,2048".to_owned());
    for in_flight in in_flight.split(',').map(|n| n.parse::<u64>().unwrap()) {
        let bench = Bench::sqlite();
        let options =
            LedgerOptions { clock: Clock::System, sweep_interval_ms: 1000, ..bench.options() };
        let ledger = Ledger::open(options).unwrap();
        ledger.order(order_of("prices", Act::SetPrices(prices()))).await.unwrap();
        for org in 0..ORGS {
            let (rail, reference, note) = ("operator".to_owned(), None, "test".to_owned());
            let (org, amount) = (OrgId::new(format!("payer-{org}")), nano(1_000_000_000_000_000));
            let act = Act::TopUp(Payment { org: org.clone(), amount, rail, reference, note });
            ledger.order(order_of(&format!("t-{org}"), act)).await.unwrap();
        }
        let (began, cpu) = (Instant::now(), [cpu_ns("ledger-writer"), cpu_ns("ledger-sync")]);
        let mut lanes = JoinSet::new();
        for number in 0..in_flight {
            lanes.spawn(lane(ledger.clone(), number, began + TIME));
        }
        let mut latencies_us = lanes.join_all().await.concat();
        let seconds = began.elapsed().as_secs_f64();
        latencies_us.sort_unstable();
        let calls = latencies_us.len();
        let at = |percent: usize| latencies_us[calls * percent / 100] as f64 / 1000.0;
        let spent = |name, before| (cpu_ns(name) - before) as f64 / 1000.0 / calls as f64;
        println!(
            "{in_flight} in flight: {:.0} calls/s, p50 {:.1} ms, p99 {:.1} ms; processor time per \
             call: writer {:.1} us, sync {:.1} us",
            calls as f64 / seconds,
            at(50),
            at(99),
            spent("ledger-writer", cpu[0]),
            spent("ledger-sync", cpu[1]),
        );
        ledger.close().await.unwrap();
    }
}
