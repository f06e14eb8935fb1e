//! `emberbox policy`: what an organisation grants its functions.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::context::Context;
use super::error::CliError;
use crate::client::Client;
use crate::config::Rules;

/// Show and change what the organisation grants its functions
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the policy (the default)
    Show,
    /// Grant requests to these hosts and no other; without any, to none
    ///
    /// Functions get of them what their manifests name and this server's operator allows. It needs an
    /// owner's key, and what is live loses what is not granted any more with its next call.
    Hosts {
        /// Hosts, such as api.example.com, *.example.org:8443 or http://plain.example
        #[arg(value_parser = host)]
        hosts: Vec<String>,
        /// Every host that the operator allows, as when nothing was ever said
        #[arg(long, conflicts_with = "hosts")]
        all: bool,
    },
    /// Say whether functions may load models from their own memory
    ///
    /// Where nothing was ever said, they may as far as this server's operator allows it. It needs an
    /// owner's key.
    Load { loading: Loading },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Loading {
    /// Functions may, where the operator allows it
    Allow,
    /// No function may
    Deny,
}

fn host(text: &str) -> Result<String, String> {
    Rules::read([text]).map(|_| text.to_owned())
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let policy = match &arguments.action {
        None | Some(Action::Show) => client.get("/v1/policy")?,
        Some(Action::Hosts { hosts, all }) => {
            let hosts = if *all { Value::Null } else { json!(hosts) };
            change(&client, ("outbound_hosts", hosts))?
        }
        Some(Action::Load { loading }) => {
            let load = if *loading == Loading::Deny { json!(false) } else { Value::Null };
            change(&client, ("load_models", load))?
        }
    };
    context.out.answer(&policy, |paint| {
        let hosts = match policy.get("outbound_hosts").and_then(Value::as_array) {
            None => "every host that this server allows".to_owned(),
            Some(hosts) if hosts.is_empty() => "no host".to_owned(),
            Some(hosts) => {
                let hosts: Vec<&str> = hosts.iter().filter_map(Value::as_str).collect();
                hosts.join(", ")
            }
        };
        let denied = policy.get("load_models") == Some(&json!(false));
        let loading =
            if denied { "may not load" } else { "may, where this server allows it, load" };
        format!(
            "functions may send requests to {}\nfunctions {loading} models from their own memory",
            paint.bold(&hosts)
        )
    })
}

/// Changes one part of the policy; it is put as a whole.
fn change(client: &Client, (name, value): (&str, Value)) -> Result<Value, CliError> {
    let mut policy = client.get("/v1/policy")?;
    if let Some(fields) = policy.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
    Ok(client.put("/v1/policy", &policy)?)
}
