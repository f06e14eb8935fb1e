//! Guests and uploads made of random numbers: none may bring the host down, or leave anything behind.
//! The numbers are the same in every run.

use std::path::Path;

use emberbox_runtime::{CallEnding, CallError, Deployment, Limits};

use crate::core_abi::{FUNCTIONS, imports};
use crate::support::{ENGINE, MODEL, Outcome, World, grants, outcome, post};

/// Numbers by Steele, Lea and Flood's `SplitMix64`.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Scripts that are run, and damaged uploads of each kind.
const SCRIPTS: u32 = 300;
const UPLOADS: u32 = 12;

/// A program that does what its input says: each line of six words is a function and its arguments.
fn interpreter() -> Vec<u8> {
    let imports = imports();
    let cases: String = FUNCTIONS
        .iter()
        .enumerate()
        .map(|(number, (name, count))| {
            let arguments: String = (0..*count)
                .map(|word| format!("(i32.load (i32.const {}))", 2052 + 4 * word))
                .collect();
            format!(
                "(if (i32.eq (i32.load (i32.const 2048)) (i32.const {number}))
                    (then (drop (call ${name} {arguments}))))"
            )
        })
        .collect();
    let text = format!(
        r#"(module {imports}
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "{MODEL}")
            (data (i32.const 64) "{{\"n-predict\": 3}}")
            (data (i32.const 128) "one two three four")
            ;; A tensor of that text, and one of these options.
            (data (i32.const 192)
                "\00\00\00\00\01\00\00\00\03\00\00\00\80\00\00\00\12\00\00\00")
            (data (i32.const 224)
                "\00\00\00\00\01\00\00\00\03\00\00\00\40\00\00\00\10\00\00\00")
            (func (export "_start")
                (loop $more
                    (i32.store (i32.const 1024) (i32.const 2048))
                    (i32.store (i32.const 1028) (i32.const 24))
                    (drop (call $read
                        (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 1032)))
                    (if (i32.ne (i32.load (i32.const 1032)) (i32.const 24)) (then return))
                    {cases}
                    (br $more))))"#
    );
    wat::parse_str(&text).expect("the interpreter")
}

/// A model, a context on it, and a prompt.
const BEGINNING: [[u32; 6]; 3] =
    [[1, 0, 16, 512, 0, 0], [4, 1, 516, 0, 0, 0], [6, 2, 0, 192, 0, 0]];

/// A line of a script: mostly what makes sense, and everything else too.
fn line(numbers: &mut Numbers) -> [u32; 6] {
    let mut word = |usual: &[u32]| match numbers.below(16) {
        0 => numbers.next() as u32,
        1 => [0, 1, 3, 65_532, 65_535, u32::MAX][numbers.below(6) as usize],
        _ => usual[numbers.below(usual.len() as u64) as usize],
    };
    let handles = [1, 2, 3, 4, 5, 6];
    let function = word(&[1, 1, 2, 4, 4, 4, 5, 6, 6, 7, 8, 9, 10, 11, 11, 3]);
    let rest: [&[u32]; 5] = match function {
        1 => [&[0], &[16], &[512], &[0], &[0]],
        2 => [&[0], &[16], &[64], &[16], &[512]],
        4 => [&handles, &[516], &[0], &[0], &[0]],
        6 => [&handles, &[0, 0, 1], &[192, 192, 224], &[0], &[0]],
        7 | 8 => [&handles, &[0, 1], &[4096], &[8192], &[520]],
        _ => [&handles, &handles, &handles, &handles, &handles],
    };
    let rest = rest.map(word);
    [function, rest[0], rest[1], rest[2], rest[3], rest[4]]
}

#[tokio::test]
async fn random_calls_of_the_core_interface_do_no_harm() {
    let limits = Limits { handles_max: 40, contexts_max: 20, ..Limits::default() };
    let deployment =
        Deployment::compile(&ENGINE, &interpreter(), limits, grants()).expect("a command");
    let mut numbers = Numbers(7);
    let mut computed = 0;
    for round in 0..SCRIPTS {
        let random = (0..60).map(|_| line(&mut numbers));
        let script: Vec<u8> =
            BEGINNING.into_iter().chain(random).flatten().flat_map(u32::to_le_bytes).collect();
        let world = World::new();
        let mut request = post("/", "");
        let body = http_body_util::Full::new(bytes::Bytes::from(script));
        *request.body_mut() = http_body_util::BodyExt::boxed_unsync(
            http_body_util::BodyExt::map_err(body, |never| match never {}),
        );
        let answer = outcome(deployment.call(world.call(request)).await).await.answered();
        assert_eq!(answer.report.ending, CallEnding::Normal, "round {round}");
        computed += world.purse.settled().len();
        let left = (world.bridge.open_sessions(), world.purse.reservations());
        assert_eq!(left, (0, 0), "round {round}");
    }
    // The scripts must get somewhere, or they test nothing.
    assert!(computed > 100, "{computed} computations");
}

/// Uploads with some bytes changed: each is refused, or runs as well as it can.
#[tokio::test]
async fn damaged_uploads_do_no_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/prebuilt");
    let mut numbers = Numbers(11);
    let limits = Limits { cpu_ms_max: 200, wall_ms_max: 2_000, ..Limits::default() };
    let mut ran = 0;
    for name in ["hello", "legacy-nn"] {
        let whole = std::fs::read(folder.join(format!("{name}.wasm"))).expect("prebuilt guest");
        for _ in 0..UPLOADS {
            let upload = damaged(&whole, &mut numbers);
            ran += u32::from(runs_or_is_refused(name, &upload, limits.clone()).await);
        }
    }
    assert!(ran > 0, "no upload survived");
}

/// The same with one to three bytes changed.
fn damaged(whole: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut damaged = whole.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(damaged.len() as u64) as usize;
        damaged[at] = numbers.next() as u8;
    }
    damaged
}

/// Whether it was compiled; if so it is called.
async fn runs_or_is_refused(name: &str, upload: &[u8], limits: Limits) -> bool {
    let Ok(deployment) = Deployment::compile(&ENGINE, upload, limits, grants()) else {
        return false;
    };
    let world = World::new();
    let outcome = outcome(deployment.call(world.call(post("/", "once upon"))).await).await;
    let fault = matches!(outcome, Outcome::Failed(CallError::Fault(..)));
    assert!(!fault, "{name}: {outcome:?}");
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0), "{name}");
    true
}
