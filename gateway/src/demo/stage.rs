//! Where the demo plays: a server in this process, and connections to it.

use emberbox_billing::Nano;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::failure;
use super::screen::Screen;
use crate::cli::CliError;
use crate::cli::format::{cell, credits, rows};
use crate::cli::models::parameters;
use crate::cli::serve::{exports, next_commands, start_failed};
use crate::client::{Client, Secret};
use crate::{Compiler, Config, Running};

/// What the demo's organisation begins with: one credit.
const CREDITS: Nano = Nano::from_nano(1_000_000_000);

/// A running server with the keys to it.
pub(super) struct Stage {
    /// Calls as the demo's organisation.
    pub(super) client: Client,
    /// Calls as the operator.
    pub(super) admin: Client,
    /// The name of the demo's organisation.
    pub(super) org: String,
    running: Running,
    key: String,
    folder: TempDir,
}

impl Stage {
    /// Starts a server on free ports and an empty folder.
    pub(super) fn set(runtime: &Runtime) -> Result<Self, CliError> {
        let folder = tempfile::Builder::new()
            .prefix("emberbox-demo-")
            .tempdir()
            .map_err(|source| CliError::File { path: std::env::temp_dir(), source })?;
        let mut config = Config {
            data: folder.path().join("data"),
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            log: "off".to_owned(),
            ..Config::default()
        };
        config.compiler.program = Compiler::own_program();
        config.bootstrap.credits = CREDITS;
        let running = runtime
            .block_on(Box::pin(crate::start(config)))
            .map_err(|error| start_failed(&error))?;
        let key = running
            .first_key
            .clone()
            .ok_or_else(|| failure("a fresh server has made no first key".to_owned()))?;
        let client = Client::new(&format!("http://{}", running.public), Some(Secret::new(&key)))?;
        let admin = Client::new(
            &format!("http://{}", running.admin),
            Some(Secret::new(&running.operator_token)),
        )?;
        let org = cell(&client.get("/v1/me")?, "/org/name");
        Ok(Self { client, admin, org, running, key, folder })
    }

    /// Says what was started.
    pub(super) fn introduce(&self, screen: &Screen) -> Result<(), CliError> {
        screen.fact("public", self.client.base())?;
        screen.fact("admin", self.admin.base())?;
        screen.fact("data", &self.folder.path().join("data").display().to_string())?;
        for model in rows(&self.client.get("/v1/models")?) {
            let words: Vec<String> =
                [cell(model, "/id"), parameters(model), cell(model, "/quantisation")]
                    .into_iter()
                    .filter(|word| word != "-")
                    .collect();
            screen.fact("model", &words.join(", "))?;
        }
        let balance = credits(self.balance()?);
        screen.fact("balance", &format!("{balance} credits of the organisation {}", self.org))
    }

    /// What the demo's organisation has left.
    pub(super) fn balance(&self) -> Result<Nano, CliError> {
        posted(&self.client)
    }

    /// What to type to go on with the running server.
    pub(super) fn farewell(&self, screen: &Screen) -> Result<(), CliError> {
        let paint = screen.paint();
        let operator = format!("export EMBERBOX_ADMIN_URL={}", self.admin.base());
        let data = format!("export EMBERBOX_DATA={}", self.folder.path().join("data").display());
        screen.text(&format!(
            "\nThe server keeps running. To talk to it:\n\n{}  {}\n  {}\n{}\nCtrl-C stops it and \
             removes its folder.\n",
            exports(self.client.base(), &self.key, paint),
            paint.cyan(&operator),
            paint.cyan(&data),
            next_commands(paint)
        ))
    }

    /// Gives back the server and its folder, to be stopped and removed in this order.
    pub(super) fn strike(self) -> (Running, TempDir) {
        (self.running, self.folder)
    }

    /// Makes another organisation with this many credits; gives back its connection.
    pub(super) fn found_organisation(&self, name: &str, amount: Nano) -> Result<Client, CliError> {
        let made = self.admin.post("/admin/v1/orgs", &json!({ "name": name }))?;
        let key = made.get("key").and_then(Value::as_str);
        let key = key.ok_or_else(|| failure("a new organisation has no key".to_owned()))?;
        let payment = json!({"org": name, "amount": amount.to_string(),
            "id": format!("demo-{name}"), "note": "the demo"});
        self.admin.post("/admin/v1/credits", &payment)?;
        Ok(Client::new(self.client.base(), Some(Secret::new(key)))?)
    }
}

/// The posted balance behind a connection.
pub(super) fn posted(client: &Client) -> Result<Nano, CliError> {
    amount(&client.get("/v1/credits")?, "/posted")
}

/// A field that holds credits.
pub(super) fn amount(document: &Value, pointer: &str) -> Result<Nano, CliError> {
    let text = cell(document, pointer);
    text.parse().map_err(|error| failure(format!("{pointer} is no amount of credits: {error}")))
}
