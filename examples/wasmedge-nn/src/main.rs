//! What programs for `WasmEdge`'s ggml plugin do, each by its name.

use std::error::Error;
use std::io::{Read, Write, stdin, stdout};

use serde_json::{Map, Value};
use wasmedge_wasi_nn::{
    self as nn, BackendError, ExecutionTarget, Graph, GraphBuilder, GraphEncoding,
    GraphExecutionContext, TensorType,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of an output that are read.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Variables of the environment, and the options they are.
const OPTIONS: [(&str, &str); 3] = [("n_predict", "n-predict"), ("temp", "temp"), ("seed", "seed")];

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().ok_or("the first argument is what to do")?;
    let model = arguments.next().ok_or("the second argument is the model's name")?;
    let mut prompt = String::new();
    stdin().read_to_string(&mut prompt)?;
    match what.as_str() {
        "basic" => basic(&model, &prompt),
        "stream" => stream(&model, &prompt),
        "embedding" => embedding(&model, &prompt),
        "twice" => twice(&model, &prompt),
        "unload" => unload(&model),
        "not-found" => not_found(),
        "too-long" => too_long(&model, &prompt),
        other => Err(format!("there is no '{other}'").into()),
    }
}

#[expect(clippy::disallowed_methods, reason = "such programs are told their options so")]
fn options() -> Outcome<Map<String, Value>> {
    // Such programs give what only their own host has a use for, too.
    let mut options = Map::from_iter([
        ("enable-log".to_owned(), Value::from(false)),
        ("ctx-size".to_owned(), Value::from(512)),
        ("n-gpu-layers".to_owned(), Value::from(0)),
    ]);
    for (variable, option) in OPTIONS {
        if let Ok(text) = std::env::var(variable) {
            options.insert(option.to_owned(), serde_json::from_str(&text)?);
        }
    }
    Ok(options)
}

fn load(model: &str, options: &Map<String, Value>) -> Result<Graph, nn::Error> {
    let config = Value::Object(options.clone()).to_string();
    GraphBuilder::new(GraphEncoding::Ggml, ExecutionTarget::AUTO)
        .config(config)
        .build_from_cache(model)
}

/// Dimensions are `[1]` whatever the text's length: so do all programs of this kind.
fn set(context: &mut GraphExecutionContext, index: usize, text: &str) -> Result<(), nn::Error> {
    context.set_input(index, TensorType::U8, &[1], text.as_bytes())
}

fn output(context: &GraphExecutionContext, index: usize) -> Outcome<String> {
    let mut buffer = vec![0_u8; OUTPUT_BYTES_MAX];
    let bytes = context.get_output(index, &mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..bytes).unwrap_or_default()).into_owned())
}

fn basic(model: &str, prompt: &str) -> Outcome<()> {
    let graph = load(model, &options()?)?;
    let mut context = graph.init_execution_context()?;
    set(&mut context, 0, prompt)?;
    context.compute()?;
    println!("{}", output(&context, 0)?);
    println!("{}", output(&context, 1)?);
    Ok(())
}

fn stream(model: &str, prompt: &str) -> Outcome<()> {
    let graph = load(model, &Map::new())?;
    let mut context = graph.init_execution_context()?;
    set(&mut context, 1, &Value::Object(options()?).to_string())?;
    set(&mut context, 0, prompt)?;
    loop {
        match context.compute_single() {
            Ok(()) => {}
            Err(nn::Error::BackendError(BackendError::EndOfSequence)) => break,
            Err(error) => return Err(error.into()),
        }
        let mut buffer = vec![0_u8; OUTPUT_BYTES_MAX];
        let bytes = context.get_output_single(0, &mut buffer)?;
        stdout().write_all(buffer.get(..bytes).unwrap_or_default())?;
        stdout().flush()?;
    }
    context.fini_single()?;
    Ok(())
}

fn embedding(model: &str, text: &str) -> Outcome<()> {
    let graph = load(model, &Map::from_iter([("embedding".to_owned(), Value::from(true))]))?;
    let mut context = graph.init_execution_context()?;
    set(&mut context, 0, text)?;
    context.compute()?;
    println!("{}", output(&context, 0)?);
    Ok(())
}

fn twice(model: &str, prompt: &str) -> Outcome<()> {
    let graph = load(model, &options()?)?;
    let mut context = graph.init_execution_context()?;
    for prompt in ["The old man", prompt] {
        set(&mut context, 0, prompt)?;
        context.compute()?;
        println!("{}", output(&context, 0)?);
    }
    Ok(())
}

fn unload(model: &str) -> Outcome<()> {
    let graph = load(model, &Map::new())?;
    graph.init_execution_context()?;
    graph.unload()?;
    match graph.init_execution_context() {
        Ok(_) => Err("a model that was unloaded is there still".into()),
        Err(error) => {
            println!("refused: {error}");
            Ok(())
        }
    }
}

fn not_found() -> Outcome<()> {
    match load("a-model-that-nobody-has", &Map::new()) {
        Err(nn::Error::BackendError(BackendError::ModelNotFound)) => {
            println!("not found");
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err("a model that is not there was loaded".into()),
    }
}

fn too_long(model: &str, prompt: &str) -> Outcome<()> {
    let graph = load(model, &Map::new())?;
    let mut context = graph.init_execution_context()?;
    set(&mut context, 0, &prompt.repeat(10_000))?;
    match context.compute() {
        Err(nn::Error::BackendError(BackendError::PromptTooLong)) => {
            println!("too long");
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(()) => Err("a prompt that is too long was taken".into()),
    }
}
