//! `emberbox models`: what can answer, and adding to it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::{Context, plain};
use super::error::CliError;
use super::format::{cell, rows};
use super::output::{Paint, Table, left, right};
use super::pull;
use super::settings::DataFlag;

/// List the models, add one or remove one
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the models that can be used (the default)
    List,
    /// Add a model; an operator's command
    ///
    /// The server reads the path on its own machine: a Hugging Face folder (config.json,
    /// tokenizer.json, safetensors) or a GGUF file. Nothing is copied.
    Add {
        /// The name that callers use
        #[arg(value_parser = plain)]
        name: String,
        /// The folder or file
        path: PathBuf,
        #[command(flatten)]
        data: DataFlag,
    },
    Pull(pull::Arguments),
    /// Remove a model; its files stay. An operator's command
    Remove {
        /// The model
        #[arg(value_parser = plain)]
        name: String,
        #[command(flatten)]
        data: DataFlag,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        None | Some(Action::List) => {
            let models = context.client()?.get("/v1/models")?;
            context.out.answer(&models, |paint| shown(&models, paint))
        }
        Some(Action::Add { name, path, data }) => {
            let path = std::path::absolute(path)
                .map_err(|source| CliError::File { path: path.clone(), source })?;
            let Some(path) = path.to_str() else {
                return Err(CliError::Usage(format!("{} is not UTF-8", path.display())));
            };
            let body = json!({"name": name, "path": path});
            let busy = context.out.busy(&format!("loading {path}"));
            let model = context.admin(data)?.post("/admin/v1/models", &body)?;
            drop(busy);
            context.out.answer(&model, |paint| {
                format!("{} can be used: {}", paint.bold(name), describe(&model))
            })
        }
        Some(Action::Pull(arguments)) => pull::run(arguments, context),
        Some(Action::Remove { name, data }) => {
            context.admin(data)?.delete(&format!("/admin/v1/models/{name}"))?;
            let answer = json!({"name": name, "removed": true});
            context.out.answer(&answer, |_| format!("{name} is removed; its files stay"))
        }
    }
}

fn shown(models: &Value, paint: Paint) -> String {
    let columns = [
        left("MODEL"),
        left("KIND"),
        left("ARCHITECTURE"),
        right("PARAMETERS"),
        right("CONTEXT"),
        left("WEIGHTS"),
    ];
    let mut table = Table::new(&columns);
    for model in rows(models) {
        table.row(vec![
            cell(model, "/id"),
            cell(model, "/kind"),
            cell(model, "/architecture"),
            parameters(model),
            cell(model, "/context_length"),
            cell(model, "/quantisation"),
        ]);
    }
    table.render(paint, "no models; get one with `emberbox models pull hf:ORG/NAME`")
}

/// What a model is, in a few words.
pub(super) fn describe(model: &Value) -> String {
    let words = [cell(model, "/kind"), cell(model, "/architecture"), parameters(model)];
    let known: Vec<String> = words.into_iter().filter(|word| word != "-").collect();
    known.join(", ")
}

/// Parameters in millions or billions, as people name models.
pub(crate) fn parameters(model: &Value) -> String {
    match model.pointer("/parameters").and_then(Value::as_u64) {
        None => "-".to_owned(),
        Some(count @ 0..1_000_000_000) => {
            format!("{}.{} M", count / 1_000_000, count % 1_000_000 / 100_000)
        }
        Some(count) => {
            format!("{}.{} B", count / 1_000_000_000, count % 1_000_000_000 / 100_000_000)
        }
    }
}
