//! The functions that guests import: pointers are followed here, and what they lead to goes on.

use wasmtime::Linker;

use super::memory::Memory;
use super::{Errno, Refused};
use crate::instance::CommandState;

const MODULE: &str = "wasi_ephemeral_nn";

pub(super) type Caller<'a> = wasmtime::Caller<'a, CommandState>;

/// The number for the guest, and the words for its log.
fn answer(caller: &mut Caller<'_>, name: &str, outcome: Result<(), Refused>) -> u32 {
    let Err(Refused(errno, why)) = outcome else { return Errno::Success as u32 };
    if !why.is_empty() {
        caller.data_mut().nn().log.note(&format!("{MODULE}.{name}: {why}"));
    }
    errno as u32
}

/// Functions that answer at once.
macro_rules! at_once {
    ($linker:ident, $name:literal, $inner:ident($($argument:ident),*)) => {
        $linker.func_wrap(MODULE, $name, |mut caller: Caller<'_>, $($argument: u32),*| {
            let outcome = $inner(&mut caller, [$($argument),*]);
            answer(&mut caller, $name, outcome)
        })?;
    };
}

/// Functions that wait for a model.
macro_rules! waiting {
    ($linker:ident, $name:literal, single: $single:literal) => {
        $linker.func_wrap_async(MODULE, $name, |mut caller: Caller<'_>, (context,): (u32,)| {
            Box::new(async move {
                let outcome = caller.data_mut().nn().compute(context, $single).await;
                answer(&mut caller, $name, outcome)
            })
        })?;
    };
}

pub(crate) fn add_to_linker(linker: &mut Linker<CommandState>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "load", |mut caller: Caller<'_>, arguments: Load| {
        Box::new(async move {
            let outcome = load(&mut caller, arguments).await;
            answer(&mut caller, "load", outcome)
        })
    })?;
    at_once!(linker, "load_by_name", load_by_name(name, name_bytes, graph));
    at_once!(
        linker,
        "load_by_name_with_config",
        load_by_name_with_config(name, name_bytes, config, config_bytes, graph)
    );
    at_once!(linker, "unload", unload(graph));
    at_once!(linker, "init_execution_context", init_execution_context(graph, context));
    at_once!(linker, "finalize_execution_context", finalize_execution_context(context));
    at_once!(linker, "set_input", set_input(context, index, tensor));
    at_once!(linker, "get_output", get_output(context, index, into, bytes_max, written));
    at_once!(linker, "get_output_single", get_output(context, index, into, bytes_max, written));
    at_once!(linker, "fini_single", fini_single(context));
    waiting!(linker, "compute", single: false);
    waiting!(linker, "compute_single", single: true);
    Ok(())
}

/// A list of lists of bytes and its length, the encoding, what to compute on, and where the handle
/// goes.
type Load = (u32, u32, u32, u32, u32);

async fn load(
    caller: &mut Caller<'_>,
    (parts, count, _encoding, _target, graph): Load,
) -> Result<(), Refused> {
    if count != 1 {
        let why = format!("a model is one list of bytes, not {count}");
        return Err(Refused::new(Errno::InvalidArgument, why));
    }
    let mut memory = Memory::of(caller)?;
    let [data, bytes] = memory.words(parts)?;
    memory.reserve_word(graph)?;
    // Nothing is copied that is not admitted.
    caller.data_mut().nn().ctx.admit(bytes as usize)?;
    let model = Memory::of(caller)?.bytes(data, bytes)?;
    let handle = caller.data_mut().nn().bring(model).await?;
    Memory::of(caller)?.write_word(graph, handle)
}

fn load_by_name(
    caller: &mut Caller<'_>,
    [name, name_bytes, graph]: [u32; 3],
) -> Result<(), Refused> {
    let mut memory = Memory::of(caller)?;
    let name = memory.text(name, name_bytes)?;
    memory.reserve_word(graph)?;
    let handle = caller.data_mut().nn().load(&name, None)?;
    Memory::of(caller)?.write_word(graph, handle)
}

fn load_by_name_with_config(
    caller: &mut Caller<'_>,
    [name, name_bytes, config, config_bytes, graph]: [u32; 5],
) -> Result<(), Refused> {
    let mut memory = Memory::of(caller)?;
    let (name, config) = (memory.text(name, name_bytes)?, memory.text(config, config_bytes)?);
    memory.reserve_word(graph)?;
    let handle = caller.data_mut().nn().load(&name, Some(&config))?;
    Memory::of(caller)?.write_word(graph, handle)
}

fn unload(caller: &mut Caller<'_>, [graph]: [u32; 1]) -> Result<(), Refused> {
    caller.data_mut().nn().unload(graph)
}

fn init_execution_context(
    caller: &mut Caller<'_>,
    [graph, context]: [u32; 2],
) -> Result<(), Refused> {
    Memory::of(caller)?.reserve_word(context)?;
    let handle = caller.data_mut().nn().init(graph)?;
    Memory::of(caller)?.write_word(context, handle)
}

fn finalize_execution_context(caller: &mut Caller<'_>, [context]: [u32; 1]) -> Result<(), Refused> {
    caller.data_mut().nn().finalize(context)
}

fn fini_single(caller: &mut Caller<'_>, [context]: [u32; 1]) -> Result<(), Refused> {
    caller.data_mut().nn().fini_single(context)
}

/// A tensor is its dimensions, as pointer and length; its type, in four bytes; its data, as pointer
/// and length.
fn set_input(caller: &mut Caller<'_>, [context, index, tensor]: [u32; 3]) -> Result<(), Refused> {
    let mut memory = Memory::of(caller)?;
    let [sizes, sizes_len, ty, data, data_bytes] = memory.words(tensor)?;
    let sizes = memory.bytes(sizes, sizes_len.saturating_mul(4))?;
    let sizes = sizes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let data = memory.bytes(data, data_bytes)?;
    caller.data_mut().nn().set_input((context, index), (ty & 0xff, sizes), data)
}

fn get_output(
    caller: &mut Caller<'_>,
    [context, index, into, bytes_max, written]: [u32; 5],
) -> Result<(), Refused> {
    let (mut memory, nn) = Memory::with_state(caller)?;
    let output = nn.output(context, index)?;
    let bytes = u32::try_from(output.len()).unwrap_or(u32::MAX);
    if bytes > bytes_max {
        let why = format!("output {index} has {bytes} bytes, and the buffer {bytes_max}");
        return Err(Refused::new(Errno::TooLarge, why));
    }
    memory.write(into, output)?;
    memory.write_word(written, bytes)
}
