//! Random calls of the functions that core modules import: any number as a pointer, a length or a
//! handle. The input is read as lines, each a function and its arguments.
#![no_main]

#[path = "../../tests/sandbox/echo.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod echo;
#[path = "../../tests/sandbox/purse.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod purse;
mod world;

use std::sync::LazyLock;

use emberbox_runtime::Deployment;

const NN: &str = "wasi_ephemeral_nn";
const WASI: &str = "wasi_snapshot_preview1";

/// Module, name, and the types of the arguments: `i` for 32 bits, `I` for 64. All but `proc_exit`,
/// which does not come back. Seeds name them by their places, so new ones come last.
const FUNCTIONS: [(&str, &str, &str); 57] = [
    (NN, "load", "iiiii"),
    (NN, "load_by_name", "iii"),
    (NN, "load_by_name_with_config", "iiiii"),
    (NN, "unload", "i"),
    (NN, "init_execution_context", "ii"),
    (NN, "finalize_execution_context", "i"),
    (NN, "set_input", "iii"),
    (NN, "get_output", "iiiii"),
    (NN, "get_output_single", "iiiii"),
    (NN, "fini_single", "i"),
    (NN, "compute", "i"),
    (NN, "compute_single", "i"),
    (WASI, "args_get", "ii"),
    (WASI, "args_sizes_get", "ii"),
    (WASI, "clock_time_get", "iIi"),
    (WASI, "environ_get", "ii"),
    (WASI, "environ_sizes_get", "ii"),
    (WASI, "fd_close", "i"),
    (WASI, "fd_fdstat_get", "ii"),
    (WASI, "fd_prestat_get", "ii"),
    (WASI, "fd_read", "iiii"),
    (WASI, "fd_seek", "iIii"),
    (WASI, "fd_write", "iiii"),
    (WASI, "path_open", "iiiiiIIii"),
    (WASI, "poll_oneoff", "iiii"),
    (WASI, "random_get", "ii"),
    (WASI, "clock_res_get", "ii"),
    (WASI, "fd_advise", "iIIi"),
    (WASI, "fd_allocate", "iII"),
    (WASI, "fd_datasync", "i"),
    (WASI, "fd_fdstat_set_flags", "ii"),
    (WASI, "fd_fdstat_set_rights", "iII"),
    (WASI, "fd_filestat_get", "ii"),
    (WASI, "fd_filestat_set_size", "iI"),
    (WASI, "fd_filestat_set_times", "iIIi"),
    (WASI, "fd_pread", "iiiIi"),
    (WASI, "fd_prestat_dir_name", "iii"),
    (WASI, "fd_pwrite", "iiiIi"),
    (WASI, "fd_readdir", "iiiIi"),
    (WASI, "fd_renumber", "ii"),
    (WASI, "fd_sync", "i"),
    (WASI, "fd_tell", "ii"),
    (WASI, "path_create_directory", "iii"),
    (WASI, "path_filestat_get", "iiiii"),
    (WASI, "path_filestat_set_times", "iiiiIIi"),
    (WASI, "path_link", "iiiiiii"),
    (WASI, "path_readlink", "iiiiii"),
    (WASI, "path_remove_directory", "iii"),
    (WASI, "path_rename", "iiiiii"),
    (WASI, "path_symlink", "iiiii"),
    (WASI, "path_unlink_file", "iii"),
    (WASI, "proc_raise", "i"),
    (WASI, "sched_yield", ""),
    (WASI, "sock_accept", "iii"),
    (WASI, "sock_recv", "iiiiii"),
    (WASI, "sock_send", "iiiii"),
    (WASI, "sock_shutdown", "ii"),
];
/// Words of a line: a function, and as many arguments as any has.
const LINE_WORDS: usize = 10;
const LINES_MAX: usize = 64;

/// Where a line is in the interpreter's memory.
const LINE_AT: usize = 2048;

/// What makes sense somewhere: handles, flags, and where the interpreter's data is.
const USUAL: [u32; 24] = [
    0, 1, 2, 3, 4, 5, 6, 8, 16, 18, 20, 64, 128, 192, 224, 256, 512, 516, 520, 1024, 4096, 8192,
    65_532, 65_535,
];

static INTERPRETER: LazyLock<Deployment> = LazyLock::new(|| {
    let module = wat::parse_str(interpreter()).unwrap();
    Deployment::compile(&world::ENGINE, &module, world::limits(), world::grants()).unwrap()
});

/// A program that does what its input says.
fn interpreter() -> String {
    let kind = |kind: char| if kind == 'I' { "i64" } else { "i32" };
    let imports: String = FUNCTIONS
        .iter()
        .map(|(module, name, arguments)| {
            let arguments: Vec<&str> = arguments.chars().map(kind).collect();
            let arguments = arguments.join(" ");
            format!(
                "(import \"{module}\" \"{name}\" (func ${name} (param {arguments}) (result i32)))"
            )
        })
        .collect();
    let cases: String = FUNCTIONS
        .iter()
        .enumerate()
        .map(|(number, (_, name, arguments))| {
            let arguments: String = arguments
                .chars()
                .enumerate()
                .map(|(word, of)| {
                    let at = LINE_AT + 4 + 4 * word;
                    match of {
                        'I' => format!("(i64.load32_s (i32.const {at}))"),
                        _ => format!("(i32.load (i32.const {at}))"),
                    }
                })
                .collect();
            format!(
                "(if (i32.eq (i32.load (i32.const {LINE_AT})) (i32.const {number}))
                    (then (drop (call ${name} {arguments}))))"
            )
        })
        .collect();
    let (model, line_bytes) = (world::MODEL, 4 * LINE_WORDS);
    format!(
        r#"(module {imports}
            (memory (export "memory") 1)
            (data (i32.const 0) "{model}")
            (data (i32.const 64) "{{\"n-predict\": 3}}")
            (data (i32.const 128) "one two three four")
            (data (i32.const 192)
                "\00\00\00\00\01\00\00\00\03\00\00\00\80\00\00\00\12\00\00\00")
            (data (i32.const 224)
                "\00\00\00\00\01\00\00\00\03\00\00\00\40\00\00\00\10\00\00\00")
            (func (export "_start")
                (loop $more
                    (i32.store (i32.const 1032) (i32.const {LINE_AT}))
                    (i32.store (i32.const 1036) (i32.const {line_bytes}))
                    ;; A line may close its own input: no line comes after it then.
                    (if (call $fd_read
                        (i32.const 0) (i32.const 1032) (i32.const 1) (i32.const 1040)) (then return))
                    (if (i32.ne (i32.load (i32.const 1040)) (i32.const {line_bytes})) (then return))
                    {cases}
                    (br $more))))"#
    )
}

/// A byte for the function, and two for each argument: mostly what is usual.
fn script(data: &[u8]) -> Vec<u8> {
    let mut script = Vec::new();
    let mut rest = data.iter().copied();
    for _ in 0..LINES_MAX {
        let Some(function) = rest.next() else { break };
        let function = usize::from(function) % FUNCTIONS.len();
        let mut line = vec![u32::try_from(function).unwrap()];
        for _ in FUNCTIONS[function].2.chars() {
            let (how, what) = (rest.next().unwrap_or(0), rest.next().unwrap_or(0));
            line.push(match how {
                0..224 => USUAL[usize::from(what) % USUAL.len()],
                224..240 => u32::from(what) << 8 | u32::from(how),
                240..248 => u32::MAX - u32::from(what),
                248.. => u32::from(what).wrapping_mul(0x0101_0101),
            });
        }
        line.resize(LINE_WORDS, 0);
        script.extend(line.into_iter().flat_map(u32::to_le_bytes));
    }
    script
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| world::call(&INTERPRETER, &script(data)));
