//! Continues a text with a model, as a program for `wasmtime run -S nn` would: the prompt from
//! standard input, the model's name from the command line, the text to standard output.

use std::error::Error;
use std::io::{Read, Write, stdin, stdout};

use wasi_nn::{ExecutionTarget, GraphBuilder, GraphEncoding, TensorType};

/// Bytes of text that are taken from the model.
const TEXT_BYTES_MAX: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let model = std::env::args().nth(1).ok_or("the first argument is the model's name")?;
    let mut prompt = String::new();
    stdin().read_to_string(&mut prompt)?;

    let graph = GraphBuilder::new(GraphEncoding::Autodetec, ExecutionTarget::CPU)
        .build_from_cache(&model)?;
    let mut context = graph.init_execution_context()?;
    context.set_input(0, TensorType::U8, &[prompt.len()], prompt.as_bytes())?;
    context.compute()?;

    let mut text = vec![0_u8; TEXT_BYTES_MAX];
    let bytes = context.get_output(0, &mut text)?;
    stdout().write_all(text.get(..bytes).unwrap_or_default())?;
    Ok(())
}
