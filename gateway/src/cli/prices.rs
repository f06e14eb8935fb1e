//! `emberbox prices`: what a token, a call and a millisecond cost.

use clap::{Args, Subcommand};
use emberbox_billing::Pico;
use serde_json::{Value, json};

use super::context::Context;
use super::error::CliError;
use super::format::cell;
use super::output::{Paint, Table, left, right};
use super::settings::DataFlag;

/// Show the price book, or publish a new version of it
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the prices in force, in credits (the default)
    Show,
    /// Publish a new version of the prices; an operator's command
    ///
    /// Prices that are not named stay. A call that has begun keeps the prices it began with.
    Set(Set),
}

#[derive(Debug, Args)]
struct Set {
    /// The model that the token prices are for; without it they are for all other models
    #[arg(long)]
    model: Option<String>,
    /// Credits per input token, such as 0.0000001
    #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
    input: Option<Pico>,
    /// Credits per input token that was still in the model's cache
    #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
    cached_input: Option<Pico>,
    /// Credits per output token
    #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
    output: Option<Pico>,
    /// Credits per call of the model
    #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
    call: Option<Pico>,
    /// Credits per call of a function
    #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
    function_call: Option<Pico>,
    /// Credits per millisecond of a function's CPU time
    #[arg(long, value_name = "CREDITS", allow_negative_numbers = true)]
    function_compute_ms: Option<Pico>,
    #[command(flatten)]
    data: DataFlag,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        None | Some(Action::Show) => {
            let book = context.client()?.get("/v1/prices")?;
            context.out.answer(&book, |paint| shown(&book, paint))
        }
        Some(Action::Set(set)) => {
            let admin = context.admin(&set.data)?;
            let book = changed(&admin.get("/admin/v1/prices")?, set)?;
            let published = admin.put("/admin/v1/prices", &book)?;
            context.out.answer(&published, |paint| shown(&published, paint))
        }
    }
}

/// The book in force with the named prices replaced.
fn changed(book: &Value, set: &Set) -> Result<Value, CliError> {
    let mut default_model = part(book, "default_model")?;
    let mut models = part(book, "models")?;
    let mut functions = part(book, "functions")?;
    let token_prices = [
        ("input_token", set.input),
        ("cached_input_token", set.cached_input),
        ("output_token", set.output),
        ("call", set.call),
    ];
    let function_prices = [("call", set.function_call), ("compute_ms", set.function_compute_ms)];
    let named = token_prices.iter().chain(&function_prices).any(|(_, price)| price.is_some());
    if !named {
        return Err(CliError::Usage(
            "no price is given; name at least one, such as --output 0.0000004".to_owned(),
        ));
    }
    let rates = match &set.model {
        None => &mut default_model,
        Some(model) => {
            if models.get(model).is_none() {
                // A model that had the default prices begins with them.
                models[model] = default_model.clone();
            }
            &mut models[model]
        }
    };
    replace(rates, &token_prices);
    replace(&mut functions, &function_prices);
    let op = uuid::Uuid::now_v7().to_string();
    Ok(json!({"op": op, "default_model": default_model, "models": models, "functions": functions}))
}

fn replace(rates: &mut Value, prices: &[(&str, Option<Pico>)]) {
    for (name, price) in prices {
        if let Some(price) = price {
            rates[*name] = json!(price.to_string());
        }
    }
}

fn part(book: &Value, name: &str) -> Result<Value, CliError> {
    book.get(name).filter(|part| part.is_object()).cloned().ok_or_else(|| CliError::Failed {
        what: format!("the server's price book has no {name}"),
        next: "check that it is an Emberbox server of this version".to_owned(),
    })
}

fn shown(book: &Value, paint: Paint) -> String {
    let columns = [
        left("MODEL"),
        right("INPUT TOKEN"),
        right("CACHED"),
        right("OUTPUT TOKEN"),
        right("CALL"),
    ];
    let mut models = Table::new(&columns);
    let mut add = |name: &str, rates: &Value| {
        let fields = ["/input_token", "/cached_input_token", "/output_token", "/call"];
        let prices = fields.iter().map(|field| cell(rates, field));
        models.row(std::iter::once(name.to_owned()).chain(prices).collect());
    };
    for (name, rates) in book.get("models").and_then(Value::as_object).into_iter().flatten() {
        add(name, rates);
    }
    add("(any other)", book.get("default_model").unwrap_or(&Value::Null));
    let mut functions = Table::new(&[left("FUNCTIONS"), right("CREDITS")]);
    functions.row(vec!["call".to_owned(), cell(book, "/functions/call")]);
    functions.row(vec!["CPU millisecond".to_owned(), cell(book, "/functions/compute_ms")]);
    format!(
        "Price book version {}\n\n{}\n\n{}",
        cell(book, "/version"),
        models.render(paint, ""),
        functions.render(paint, "")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Set {
        Set {
            model: None,
            input: None,
            cached_input: None,
            output: None,
            call: None,
            function_call: None,
            function_compute_ms: None,
            data: DataFlag::default(),
        }
    }

    fn book() -> Value {
        let rates = json!({"input_token": "1", "cached_input_token": "0.5", "output_token": "2",
            "call": "0"});
        json!({"version": 3, "effective_at_ms": 0, "default_model": rates, "models": {},
            "functions": {"call": "4", "compute_ms": "5"}})
    }

    #[test]
    fn prices_that_are_not_named_stay() {
        let output = Some("7".parse().unwrap());
        let changed = changed(&book(), &Set { output, ..set() }).unwrap();
        assert_eq!(changed["default_model"]["output_token"], "7");
        assert_eq!(changed["default_model"]["input_token"], "1");
        assert_eq!(changed["functions"], book()["functions"]);
        assert!(changed.get("version").is_none(), "the server numbers versions");
    }

    #[test]
    fn a_new_model_begins_with_the_default_prices() {
        let input = Some("9".parse().unwrap());
        let changed =
            changed(&book(), &Set { model: Some("m".to_owned()), input, ..set() }).unwrap();
        assert_eq!(changed["models"]["m"]["input_token"], "9");
        assert_eq!(changed["models"]["m"]["output_token"], "2");
        assert_eq!(changed["default_model"], book()["default_model"]);
    }

    #[test]
    fn no_price_is_a_mistake() {
        assert_eq!(changed(&book(), &set()).unwrap_err().exit_code(), 2);
    }
}
