use emberbox_runtime::{CallError, Limits};

use crate::commands::compile;
use crate::support::{MODEL, World};

/// The functions of `wasi_ephemeral_nn`, and how many arguments each has.
pub(crate) const FUNCTIONS: [(&str, usize); 12] = [
    ("load", 5),
    ("load_by_name", 3),
    ("load_by_name_with_config", 5),
    ("unload", 1),
    ("init_execution_context", 2),
    ("finalize_execution_context", 1),
    ("set_input", 3),
    ("get_output", 5),
    ("get_output_single", 5),
    ("fini_single", 1),
    ("compute", 1),
    ("compute_single", 1),
];

/// All of them as a module imports them, each under its own name.
pub(crate) fn imports() -> String {
    let import = |(name, count): (&str, usize)| {
        let arguments = "i32 ".repeat(count);
        format!(
            "(import \"wasi_ephemeral_nn\" \"{name}\"
                (func ${name} (param {arguments}) (result i32)))"
        )
    };
    FUNCTIONS.map(import).concat()
}

/// A command from text, with all its imports; what follows is in its `_start`.
pub(crate) fn command(fields: &str, start: &str) -> Vec<u8> {
    let nn = imports();
    let text = format!(
        r#"(module {nn}
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get"
                (func $random_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "{MODEL}")
            {fields}
            ;; Prints a number below a million, and a line's end.
            (func $print (param $n i32) (local $at i32)
                (local.set $at (i32.const 207))
                (i32.store8 (i32.const 207) (i32.const 10))
                (loop $digits
                    (local.set $at (i32.sub (local.get $at) (i32.const 1)))
                    (i32.store8 (local.get $at)
                        (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
                    (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
                    (br_if $digits (local.get $n)))
                (i32.store (i32.const 208) (local.get $at))
                (i32.store (i32.const 212) (i32.sub (i32.const 208) (local.get $at)))
                (drop (call $fd_write
                    (i32.const 1) (i32.const 208) (i32.const 1) (i32.const 216))))
            (func (export "_start") {start}))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// What each call gives for pointers and handles that lead nowhere.
#[tokio::test]
async fn pointers_and_handles_are_checked() {
    const END: &str = "(i32.const 65533)";
    let name = format!("(i32.const 0) (i32.const {})", MODEL.len());
    let prepared = format!(
        "(drop (call $load_by_name {name} (i32.const 300)))
         (drop (call $init_execution_context (i32.load (i32.const 300)) (i32.const 304)))"
    );
    let context = "(i32.load (i32.const 304))";
    let tensor = |data: &str, bytes: &str| {
        format!(
            "(i32.store (i32.const 332) (i32.const {data}))
             (i32.store (i32.const 336) (i32.const {bytes}))"
        )
    };
    let at_320 = "(i32.const 320)";
    let cpu = "(i32.const 9) (i32.const 9)";
    let rows = [
        ("", format!("$load_by_name (i32.const 0) (i32.const -1) {at_320}"), 7),
        ("", format!("$load_by_name (i32.const -1) (i32.const 16) {at_320}"), 3),
        ("", format!("$load_by_name (i32.const 65530) (i32.const 16) {at_320}"), 3),
        ("", format!("$load_by_name {name} {END}"), 3),
        ("", format!("$load_by_name {name} (i32.const -4)"), 3),
        ("", format!("$load_by_name (i32.const 0) (i32.const 0) {at_320}"), 8),
        (
            "(i32.store8 (i32.const 400) (i32.const 255))",
            format!("$load_by_name (i32.const 400) (i32.const 1) {at_320}"),
            2,
        ),
        ("", format!("$load_by_name_with_config {name} (i32.const 0) (i32.const 4) {at_320}"), 2),
        ("", format!("$load (i32.const -1) (i32.const -1) {cpu} {END}"), 1),
        ("", format!("$load (i32.const -1) (i32.const 1) {cpu} {END}"), 3),
        ("", format!("$load (i32.const 0) (i32.const 1) {cpu} {END}"), 3),
        ("", format!("$load (i32.const 0) (i32.const 1) {cpu} {at_320}"), 5),
        ("", format!("$init_execution_context (i32.const 99) {at_320}"), 1),
        ("", format!("$init_execution_context (i32.load (i32.const 300)) {END}"), 3),
        ("", "$unload (i32.const 99)".to_owned(), 1),
        ("", "$finalize_execution_context (i32.const -1)".to_owned(), 1),
        ("", "$fini_single (i32.const 0)".to_owned(), 1),
        ("", format!("$set_input {context} (i32.const 0) {END}"), 3),
        (&tensor("0", "-1"), format!("$set_input {context} (i32.const 0) {at_320}"), 7),
        (&tensor("65530", "16"), format!("$set_input {context} (i32.const 0) {at_320}"), 3),
        (&tensor("0", "4"), format!("$set_input {context} (i32.const 2) {at_320}"), 1),
        (&tensor("0", "4"), format!("$set_input {context} (i32.const 1) {at_320}"), 2),
        ("", format!("$compute {context}"), 1),
        ("", format!("$compute_single {context}"), 1),
        ("", "$compute (i32.const 7)".to_owned(), 1),
        ("", format!("$get_output {context} (i32.const 0) {at_320} (i32.const 9) {at_320}"), 8),
        ("", format!("$get_output {context} (i32.const 9) {at_320} (i32.const 9) {at_320}"), 1),
    ];
    let mut start = prepared;
    for (before, call, _) in &rows {
        start.push_str(&format!("{before} (call $print (call {call}))"));
    }
    let world = World::new();
    let limits = Limits { host_call_bytes_max: 1 << 20, ..Limits::default() };
    let answer = world.get(&compile(&command("", &start), limits), "/").await.answered();
    let found: Vec<&str> = answer.text().lines().collect();
    for ((_, call, expected), found) in rows.iter().zip(&found) {
        assert_eq!(*found, expected.to_string(), "{call}");
    }
    assert_eq!(found.len(), rows.len());
    assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0));
}

/// Each is a program that a host without bounds would fall over.
#[tokio::test]
async fn hostile_programs_end_as_they_must() {
    let forever = |body: &str| format!("(loop $more {body} (br $more))");
    let name = format!("(i32.const 0) (i32.const {})", MODEL.len());
    let rows: [(&str, String, &str); 7] = [
        ("spins", forever(""), "deadline"),
        ("in start", String::new(), "deadline"),
        (
            "handles",
            forever(&format!("(drop (call $load_by_name {name} (i32.const 300)))")),
            "deadline",
        ),
        ("random", "(drop (call $random_get (i32.const 0) (i32.const -1)))".to_owned(), "trap"),
        (
            "polls",
            "(drop (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 0)))
             unreachable"
                .to_owned(),
            "trap",
        ),
        (
            "writes what it has not",
            "(i32.store (i32.const 0) (i32.const 65000)) (i32.store (i32.const 4) (i32.const -1))
             (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
             unreachable"
                .to_owned(),
            "trap",
        ),
        (
            "opens files",
            "(br_if 0 (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 0)
                (i32.const 4) (i32.const 0) (i64.const -1) (i64.const -1) (i32.const 0)
                (i32.const 300))))
             unreachable"
                .to_owned(),
            "trap",
        ),
    ];
    for (what, start, ends) in rows {
        let fields =
            if what == "in start" { "(func $spin (loop (br 0))) (start $spin)" } else { "" };
        let limits = Limits { cpu_ms_max: 60, ..Limits::default() };
        let world = World::new();
        let outcome = world.get(&compile(&command(fields, &start), limits), "/").await;
        let error = outcome.failed();
        let found = match &error {
            CallError::Trap(..) => "trap",
            CallError::Deadline(_) => "deadline",
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!(found, ends, "{what}: {error}");
        assert_eq!((world.bridge.open_sessions(), world.purse.reservations()), (0, 0), "{what}");
    }
}
