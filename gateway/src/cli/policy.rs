//! `emberbox policy`: what an organisation grants its functions.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::error::CliError;
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
            client.put("/v1/policy", &json!({ "outbound_hosts": hosts }))?
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
        format!("functions may send requests to {}", paint.bold(&hosts))
    })
}
