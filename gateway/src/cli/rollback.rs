//! `emberbox rollback`: calls go to an earlier version from now on.

use clap::Args;
use serde_json::{Value, json};

use super::context::{Context, own_function};
use super::error::CliError;
use super::format::rows;
use super::versions::is_live;
use crate::client::Client;

/// Send calls to an earlier version of a function
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The function
    #[arg(value_parser = own_function)]
    function: String,
    /// The version that becomes live; the one before the live one if left out
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    version: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let function = &arguments.function;
    let version = match arguments.version {
        Some(version) => version,
        None => previous(&client, function)?,
    };
    let path = format!("/v1/functions/{function}/aliases/live");
    client.put(&path, &json!({ "version": version }))?;
    let answer = json!({"function": function, "live": version});
    context.out.answer(&answer, |paint| {
        format!("{} now runs version {}", paint.bold(function), paint.bold(&version.to_string()))
    })
}

fn previous(client: &Client, function: &str) -> Result<u64, CliError> {
    let versions = client.get(&format!("/v1/functions/{function}/versions"))?;
    before_live(&versions).ok_or_else(|| CliError::Failed {
        what: format!("{function} has no version before the live one"),
        next: format!("`emberbox versions {function}` shows them; name one"),
    })
}

/// The highest version below the live one.
fn before_live(versions: &Value) -> Option<u64> {
    let number = |version: &Value| version.get("version").and_then(Value::as_u64);
    let live = rows(versions).iter().find(|version| is_live(version)).and_then(number)?;
    rows(versions).iter().filter_map(number).filter(|version| *version < live).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_the_live_one_is_found() {
        let check = |numbers: &[(u64, bool)], expected| {
            let data: Vec<Value> = numbers
                .iter()
                .map(|(version, live)| json!({"version": version, "live": live}))
                .collect();
            assert_eq!(before_live(&json!({ "data": data })), expected, "{numbers:?}");
        };
        check(&[(3, true), (2, false), (1, false)], Some(2));
        check(&[(3, false), (2, true), (1, false)], Some(1));
        check(&[(5, false), (4, true), (1, false)], Some(1));
        check(&[(1, true)], None);
        check(&[(2, false), (1, false)], None);
        check(&[], None);
    }
}
