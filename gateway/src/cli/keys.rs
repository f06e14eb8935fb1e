//! `emberbox keys`: who may call, and as what.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::context::{Context, plain};
use super::error::CliError;
use super::format::{cell, rows, time_cell};
use super::output::{Table, left};
use super::settings::DataFlag;

/// List, create and revoke API keys
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the keys of the organisation (the default)
    List,
    /// Create a key and print it once
    Create {
        /// A name to know it by
        name: String,
        /// What it may do: call, also deploy, or also manage keys
        #[arg(long, value_enum, default_value = "consumer")]
        role: Role,
        /// For this organisation instead of your key's; an operator's command
        #[arg(long, value_parser = plain)]
        org: Option<String>,
        #[command(flatten)]
        data: DataFlag,
    },
    /// Revoke a key for good
    Revoke {
        /// The id of the key, as `emberbox keys` shows it
        #[arg(value_parser = plain)]
        id: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Consumer,
    Developer,
    Owner,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Developer => "developer",
            Self::Owner => "owner",
        }
    }
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        None | Some(Action::List) => list(context),
        Some(Action::Create { name, role, org, data }) => {
            let body = json!({"name": name, "role": role.as_str()});
            let key = match org {
                Some(org) => {
                    context.admin(data)?.post(&format!("/admin/v1/orgs/{org}/keys"), &body)?
                }
                None => context.client()?.post("/v1/keys", &body)?,
            };
            created(context, &key, (name, *role))
        }
        Some(Action::Revoke { id }) => {
            context.client()?.delete(&format!("/v1/keys/{id}"))?;
            let answer = json!({"id": id, "revoked": true});
            context.out.answer(&answer, |_| format!("{id} is revoked; calls with it are refused"))
        }
    }
}

fn list(context: &Context) -> Result<(), CliError> {
    let keys = context.client()?.get("/v1/keys")?;
    context.out.answer(&keys, |paint| {
        let columns = [
            left("ID"),
            left("NAME"),
            left("ROLE"),
            left("KEY"),
            left("CREATED (UTC)"),
            left("LAST USED (UTC)"),
            left("REVOKED (UTC)"),
        ];
        let mut table = Table::new(&columns);
        for key in rows(&keys) {
            table.row(vec![
                cell(key, "/id"),
                cell(key, "/name"),
                cell(key, "/role"),
                format!("{}…", cell(key, "/prefix")),
                time_cell(key, "/created_at_ms"),
                time_cell(key, "/last_used_at_ms"),
                time_cell(key, "/revoked_at_ms"),
            ]);
        }
        table.render(paint, "no keys")
    })
}

fn created(context: &Context, key: &Value, (name, role): (&str, Role)) -> Result<(), CliError> {
    context.out.answer(key, |paint| {
        format!(
            "{} {} ({})\nIt is shown this once:\n\n  {}",
            role.as_str(),
            paint.bold(name),
            cell(key, "/id"),
            paint.cyan(&format!("export EMBERBOX_API_KEY={}", cell(key, "/key")))
        )
    })
}
