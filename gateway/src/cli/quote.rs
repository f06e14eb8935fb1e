//! `emberbox quote`: what a call would cost at most, without making it.

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::error::CliError;
use super::format::{cell, credits_cell, rows};
use super::output::{Paint, Table, left, right};

/// Show what a call would cost at most, without making it
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What would be asked of the model
    #[arg(required_unless_present = "function")]
    prompt: Option<String>,
    /// The model
    #[arg(long, default_value = "tiny-storyteller")]
    model: String,
    /// The most tokens that it may answer with
    #[arg(long)]
    max_tokens: Option<u32>,
    /// A function instead of a model
    #[arg(long, value_name = "OWNER/NAME", conflicts_with_all = ["prompt", "model", "max_tokens"])]
    function: Option<String>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let body = match (&arguments.function, &arguments.prompt) {
        (Some(function), _) => json!({ "function": function }),
        (None, prompt) => json!({
            "model": arguments.model,
            "messages": [{ "role": "user", "content": prompt }],
            "max_tokens": arguments.max_tokens,
        }),
    };
    let quote = context.client()?.post("/v1/quote", &body)?;
    context.out.answer(&quote, |paint| shown(&quote, paint))
}

fn shown(quote: &Value, paint: Paint) -> String {
    let mut table = Table::new(&[left("WHAT"), left("METER"), right("AT MOST")]);
    for line in quote.get("lines").map_or(&[][..], rows) {
        let model = line.get("model").is_some_and(Value::is_string);
        let what = if model { cell(line, "/model") } else { "the function".to_owned() };
        table.row(vec![what, cell(line, "/meter"), cell(line, "/quantity")]);
    }
    format!(
        "{}\n\nat most {} credits, by prices version {}",
        table.render(paint, ""),
        paint.bold(&credits_cell(quote, "/worst_case")),
        cell(quote, "/price_version"),
    )
}
