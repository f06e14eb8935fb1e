//! `emberbox billing`: what an installation with a billing service of its own needs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use emberbox_billing::service::{CertificateNames, make_certificates};
use serde_json::json;

use super::context::Context;
use super::error::CliError;

/// Set up a billing service that several gateways share
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the certificates by which the service and its gateways know each other
    ///
    /// The first run makes an authority in the folder; later runs sign with it, to add gateways.
    /// Nothing is overwritten. Keep ca.key away from the servers: only a later run needs it.
    Certificates {
        /// The folder
        folder: PathBuf,
        /// A name or an IP address under which gateways reach the service; may be given several
        /// times
        #[arg(long, value_name = "NAME")]
        server: Vec<String>,
        /// The name of a gateway; may be given several times
        #[arg(long, value_name = "NAME")]
        gateway: Vec<String>,
        /// How many days they are valid
        #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
        valid_days: u32,
    },
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let Action::Certificates { folder, server, gateway, valid_days } = &arguments.action;
    if server.is_empty() && gateway.is_empty() {
        return Err(CliError::Usage(
            "whom for? name the service with --server, gateways with --gateway".to_owned(),
        ));
    }
    let names = CertificateNames {
        server: server.clone(),
        gateways: gateway.clone(),
        valid_days: *valid_days,
    };
    let files = make_certificates(folder, &names)
        .map_err(|error| CliError::Failed { what: error.to_string(), next: String::new() })?;
    let answer = json!({ "files": files });
    context.out.answer(&answer, |_| {
        let lines = files.iter().map(|file| format!("{}\n", file.display()));
        lines.collect()
    })
}
