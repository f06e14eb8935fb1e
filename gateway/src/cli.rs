//! The command line: one file per command, all talking to a server over HTTP.
//!
//! A command gets its arguments and a `Context`, prints through `Output`, and fails with a
//! [`CliError`], which knows what to tell the person and which number to tell the script.

use clap::{Parser, Subcommand};

pub use self::error::CliError;

use self::context::Context;
use self::output::Output;
use self::settings::{Environment, Flags, Settings};

mod context;
mod error;
pub(crate) mod format;
pub(crate) mod output;
mod settings;

mod audit;
mod backup;
mod billing;
mod budgets;
mod build;
mod chat;
mod credits;
mod demo;
pub(crate) mod deploy;
mod dev;
mod download;
mod earnings;
mod functions;
mod invoices;
mod invoke;
mod keys;
mod ledger;
mod login;
mod logs;
pub(crate) mod models;
mod new;
mod platform;
mod policy;
mod prices;
mod pull;
mod quote;
mod receipts;
mod reconcile;
mod rollback;
mod secrets;
pub(crate) mod serve;
pub(crate) mod usage;
mod versions;

/// Serverless inference: sandboxed functions and models, every call metered and paid.
///
/// Start with `emberbox demo`, which shows everything on this machine in a minute, or with
/// `emberbox serve`, which prints a key.
#[derive(Debug, Parser)]
#[command(name = "emberbox", version, after_help = error::EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Serve(serve::Arguments),
    New(new::Arguments),
    Build(build::Arguments),
    Dev(dev::Arguments),
    Deploy(deploy::Arguments),
    Invoke(invoke::Arguments),
    Chat(chat::Arguments),
    Logs(logs::Arguments),
    Versions(versions::Arguments),
    Rollback(rollback::Arguments),
    Functions(functions::Arguments),
    Models(models::Arguments),
    Keys(keys::Arguments),
    Secrets(secrets::Arguments),
    Policy(policy::Arguments),
    Credits(credits::Arguments),
    Budgets(budgets::Arguments),
    Usage(usage::Arguments),
    Receipts(receipts::Arguments),
    Invoices(invoices::Arguments),
    Earnings(earnings::Arguments),
    Prices(prices::Arguments),
    Quote(quote::Arguments),
    Platform(platform::Arguments),
    Audit(audit::Arguments),
    Reconcile(reconcile::Arguments),
    Ledger(ledger::Arguments),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Billing(billing::Arguments),
    Login(login::Arguments),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever went wrong, with its exit code.
    pub fn run(self) -> Result<(), CliError> {
        let environment = Environment::of_process()?;
        let context = Context {
            settings: Settings::resolve(&self.flags, &environment)?,
            out: Output::new(self.flags.json, environment.no_color()),
        };
        match self.command {
            Command::Demo(arguments) => demo::run(&arguments, &context),
            Command::Serve(arguments) => serve::run(&arguments, &context),
            Command::New(arguments) => new::run(&arguments, &context),
            Command::Build(arguments) => build::run(&arguments, &context),
            Command::Dev(arguments) => dev::run(&arguments, &context),
            Command::Deploy(arguments) => deploy::run(&arguments, &context),
            Command::Invoke(arguments) => invoke::run(&arguments, &context),
            Command::Chat(arguments) => chat::run(&arguments, &context),
            Command::Logs(arguments) => logs::run(&arguments, &context),
            Command::Versions(arguments) => versions::run(&arguments, &context),
            Command::Rollback(arguments) => rollback::run(&arguments, &context),
            Command::Functions(arguments) => functions::run(&arguments, &context),
            Command::Models(arguments) => models::run(&arguments, &context),
            Command::Keys(arguments) => keys::run(&arguments, &context),
            Command::Secrets(arguments) => secrets::run(&arguments, &context),
            Command::Policy(arguments) => policy::run(&arguments, &context),
            Command::Credits(arguments) => credits::run(&arguments, &context),
            Command::Budgets(arguments) => budgets::run(&arguments, &context),
            Command::Usage(arguments) => usage::run(&arguments, &context),
            Command::Receipts(arguments) => receipts::run(&arguments, &context),
            Command::Invoices(arguments) => invoices::run(&arguments, &context),
            Command::Earnings(arguments) => earnings::run(&arguments, &context),
            Command::Prices(arguments) => prices::run(&arguments, &context),
            Command::Quote(arguments) => quote::run(&arguments, &context),
            Command::Platform(arguments) => platform::run(&arguments, &context),
            Command::Audit(arguments) => audit::run(&arguments, &context),
            Command::Reconcile(arguments) => reconcile::run(&arguments, &context),
            Command::Ledger(arguments) => ledger::run(&arguments, &context),
            Command::Backup(arguments) => backup::back_up(&arguments, &context),
            Command::Restore(arguments) => backup::restore(&arguments, &context),
            Command::Billing(arguments) => billing::run(&arguments, &context),
            Command::Login(arguments) => login::run(&self.flags, &arguments, &context),
        }
    }

    /// Whether errors are wanted as JSON too.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        self.flags.json
    }
}

/// Tells about a failure: a sentence and the next step on standard error and, when programs
/// listen, the same as JSON on standard output.
pub fn report(error: &CliError, json: bool) {
    let out = Output::new(json, Environment::of_process().is_ok_and(|e| e.no_color()));
    let paint = out.paint_error();
    let mut text = format!("{} {error}", paint.red("error:"));
    if let Some(next) = error.next() {
        text.push_str(&format!("\n{} {next}", paint.bold(" next:")));
    }
    // When nothing can be written any more, the exit code still says it.
    std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes()).ok();
    if json && !error.is_reported() {
        out.answer(&error.to_json(), |_| String::new()).ok();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_read() {
        for (line, good) in [
            ("emberbox demo --json --exit", true),
            ("emberbox --json usage --since 24h --receipts", true),
            ("emberbox serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data d", true),
            ("emberbox deploy --no-build --component x.wasm", true),
            ("emberbox dev f --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0", true),
            ("emberbox invoke acme/hello --path a/b --data {}", true),
            ("emberbox prices set --output 0.1 --data d", true),
            ("emberbox rollback hello 3", true),
            ("emberbox keys create ci --role consumer", true),
            ("emberbox models add mini ./models/mini", true),
            ("emberbox models pull hf:acme/mini", true),
            ("emberbox models pull hf:acme/mini@v1:Q4_K_M --name mini --data d", true),
            ("emberbox models pull hf:acme/mini --no-add --folder models", true),
            ("emberbox models pull hf:acme/mini --no-add --name mini", false),
            ("emberbox models pull acme/mini", false),
            ("emberbox credits add 0.5 --org acme", true),
            ("emberbox usage --from 2026-11-01 --to 2026-11-30 --by day,key --csv -", true),
            ("emberbox credits grant 5 --org acme --expires-on 2026-12-31 --model m", true),
            ("emberbox credits adjust -5 --org acme --note x", true),
            ("emberbox credits notice none", true),
            ("emberbox credits auto-top-up --below 1 --amount 5", true),
            ("emberbox credits endpoint --off", true),
            ("emberbox budgets set 5 --window day --key key_1", true),
            ("emberbox invoices 2026-11 --html x.html --csv -", true),
            ("emberbox receipts explain 0192", true),
            ("emberbox ledger audit ledger.db", true),
            ("emberbox backup to --data d", true),
            ("emberbox restore from --data d", true),
            ("emberbox reconcile 2026-11 --org acme", true),
            ("emberbox billing certificates pki --server billing --gateway g1", true),
            ("emberbox platform set --free-tier 1 --maturity-days 14", true),
            ("emberbox quote hello --max-tokens 5", true),
            ("emberbox quote --function acme/hello", true),
            ("emberbox keys create ci --role developer --org acme", true),
            ("emberbox policy hosts api.example.com *.example.org", true),
            ("emberbox policy hosts --all api.example.com", false),
            ("emberbox policy hosts a/b", false),
            ("emberbox secrets", true),
            ("emberbox secrets set API_TOKEN", true),
            ("emberbox secrets set API_TOKEN --from-file token.txt", true),
            ("emberbox secrets delete API_TOKEN", true),
            ("emberbox secrets set API_TOKEN hunter2", false),
            ("emberbox secrets set api-token", false),
            ("emberbox secrets delete ../x", false),
            ("emberbox quote", false),
            ("emberbox usage --from 2026-02-30", false),
            ("emberbox usage --from 2026-11-01 --since 24h", false),
            ("emberbox invoices 2026-13", false),
            ("emberbox invoices --html x.html", false),
            ("emberbox credits grant -1 --org acme", false),
            ("emberbox credits grant 0.0000000001 --org acme", false),
            ("emberbox credits auto-top-up --below 1", false),
            ("emberbox budgets set 5 --window year", false),
            ("emberbox login --url http://127.0.0.1:1 --key eb_x", true),
            ("emberbox", false),
            ("emberbox invoke Hello", false),
            ("emberbox rollback hello zero", false),
            ("emberbox rollback hello 0", false),
            ("emberbox keys create ci --role king", false),
            ("emberbox credits add -1", false),
            ("emberbox credits add 0", false),
            ("emberbox usage --since yesterday", false),
            ("emberbox serve --listen nowhere", false),
            ("emberbox keys revoke ../x", false),
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert_eq!(parsed.is_ok(), good, "{line}: {:?}", parsed.err().map(|e| e.to_string()));
        }
    }
}
