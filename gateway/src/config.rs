//! What an operator can set: one TOML file, overridden by `EMBERBOX_*` variables.
//!
//! Everything is read here and nowhere else, checked at start, and every mistake is reported at
//! once. A setting `limits.json_bytes_max` is the variable `EMBERBOX_LIMITS_JSON_BYTES_MAX`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use emberbox_billing::Nano;

use self::reader::Reader;
use crate::Compiler;

pub use self::billing::Billing;
pub use self::egress::Egress;
pub use self::functions::FunctionLimits;
pub use self::inference::Inference;
pub use self::isolation::Isolation;
pub use self::payments::{CurrencyRates, Payments, Secrets, Webhooks};
pub use self::stores::{BillingService, RemoteLedger, Role, SecretUrl, SecretsKey, Store};
pub use crate::egress::Rules;

mod billing;
mod egress;
mod functions;
mod inference;
mod isolation;
mod payments;
mod reader;
mod stores;
#[cfg(test)]
mod tests;

/// Everything that one server is told. `Config::default()` serves on this machine only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which part of an installation this process is.
    pub role: Role,
    /// The data folder: databases, artifacts, the operator's token. One server per folder.
    pub data: PathBuf,
    /// Where API consumers and developers connect. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where the operator connects: administration and metrics. Keep it off the internet.
    pub admin_listen: SocketAddr,
    /// The filter of the log on stderr, such as `info` or `emberbox=debug`; `off` writes none.
    pub log: String,
    /// Where traces are sent by OTLP over HTTP, such as `http://localhost:4318/v1/traces`.
    pub otlp_endpoint: Option<String>,
    /// Whether calls are charged.
    pub billing: Billing,
    /// Where the ledger is kept.
    pub ledger: Store,
    /// Where the catalog is kept.
    pub catalog: Store,
    /// What secrets of functions are sealed under, where that is no file of the data folder.
    pub secrets_key: Option<SecretsKey>,
    /// What the server as a whole accepts.
    pub limits: ServerLimits,
    /// What one key may do.
    pub key_limits: KeyLimits,
    /// The most that any function may be given, whatever its manifest asks for.
    pub function_limits: FunctionLimits,
    /// Where functions may send requests.
    pub egress: Egress,
    /// Where uploads are compiled.
    pub compiler: Compiler,
    /// What the engine may use.
    pub inference: Inference,
    /// Parts in processes of their own.
    pub isolation: Isolation,
    /// What the first start creates.
    pub bootstrap: Bootstrap,
    /// How money comes in.
    pub payments: Payments,
    /// How messages go out.
    pub webhooks: Webhooks,
}

/// What the server as a whole accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections on the public listener; further ones wait in the operating system's queue.
    pub connections_max: usize,
    /// Requests in progress; further ones are answered 503 at once.
    pub requests_max: usize,
    /// The largest JSON body, in bytes.
    pub json_bytes_max: usize,
    /// The largest component that can be uploaded, in bytes.
    pub component_bytes_max: usize,
    /// The largest request body that is passed to a function, in bytes.
    pub function_body_bytes_max: usize,
    /// All headers of a request together, in bytes.
    pub header_bytes_max: usize,
    /// How long a client may take to send the headers, in milliseconds. Also how long an idle
    /// connection is kept.
    pub header_read_ms: u64,
    /// How long a request may take in all, in milliseconds. The OpenAI SDKs wait 600 seconds.
    pub request_deadline_ms: u64,
    /// `max_tokens` of requests that name none. It bounds what they hold of the balance.
    pub output_tokens_default: u32,
    /// Deployed functions that are kept ready in memory. Others are loaded when they are called.
    pub deployments_max: usize,
    /// Compiled code of those functions together, in MiB.
    pub deployments_mib_max: usize,
    /// Log lines kept in memory for each function.
    pub log_lines_max: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 8_192,
            requests_max: 4_096,
            json_bytes_max: 4 << 20,
            component_bytes_max: 32 << 20,
            function_body_bytes_max: 16 << 20,
            header_bytes_max: 64 << 10,
            header_read_ms: 30_000,
            request_deadline_ms: 600_000,
            output_tokens_default: 256,
            deployments_max: 10_000,
            deployments_mib_max: 1_024,
            log_lines_max: 1_000,
        }
    }
}

impl ServerLimits {
    /// How long a request may take in all.
    pub fn request_deadline(&self) -> Duration {
        Duration::from_millis(self.request_deadline_ms)
    }

    /// How long a client may take to send the headers.
    pub fn header_read(&self) -> Duration {
        Duration::from_millis(self.header_read_ms)
    }
}

/// What one key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests in progress at a time.
    pub concurrency_max: u32,
    /// Requests that may begin within one minute.
    pub requests_per_minute_max: u32,
    /// Requests of one organisation in progress at a time, all its keys together.
    pub org_concurrency_max: u32,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self {
            concurrency_max: 2_048,
            requests_per_minute_max: 600_000,
            org_concurrency_max: 4_096,
        }
    }
}

/// What the first start creates, when the data folder is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The name of the first organisation.
    pub org: String,
    /// The credits that it begins with.
    pub credits: Nano,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { org: "local".to_owned(), credits: Nano::from_nano(10_000_000_000) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::All,
            data: PathBuf::from("emberbox-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            log: "info".to_owned(),
            otlp_endpoint: None,
            billing: Billing::Metered,
            ledger: Store::Sqlite,
            catalog: Store::Sqlite,
            secrets_key: None,
            limits: ServerLimits::default(),
            key_limits: KeyLimits::default(),
            function_limits: FunctionLimits::default(),
            egress: Egress::default(),
            compiler: Compiler::default(),
            inference: Inference::default(),
            isolation: Isolation::default(),
            bootstrap: Bootstrap::default(),
            payments: Payments::default(),
            webhooks: Webhooks::default(),
        }
    }
}

/// A configuration that cannot be used, with everything that is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} mistake(s):\n  {}", mistakes.len(), mistakes.join("\n  "))]
pub struct ConfigError {
    /// One sentence each: where it was set, what is wrong, what is expected.
    pub mistakes: Vec<String>,
}

impl Config {
    /// Reads a file, if there is one, and the process's environment. What is given as `set`, by
    /// the names of variables, wins over both.
    ///
    /// # Errors
    /// Lists every mistake of both.
    pub fn load(
        file: Option<&Path>,
        set: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| ConfigError {
                mistakes: vec![format!("{}: {error}", path.display())],
            })?,
        };
        Self::parse(&text, std::env::vars().chain(set))
    }

    /// Reads TOML text and variables, as [`Config::load`] does with the real ones.
    ///
    /// # Errors
    /// Lists every mistake of both.
    pub fn parse(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(text, environment);
        let mut config = Config::default();
        let home = reader.home();
        if let Some(home) = home {
            config.data = home.join(".local/share/emberbox");
        }
        config.read(&mut reader);
        config.check(&mut reader);
        reader.finish().map(|()| config).map_err(|mistakes| ConfigError { mistakes })
    }

    /// Every setting there is.
    fn read(&mut self, reader: &mut Reader) {
        self.role = Role::read(reader);
        self.ledger = Store::read(reader, ["ledger.store", "ledger.url"], self.role.keeps_ledger());
        self.catalog =
            Store::read(reader, ["catalog.store", "catalog.url"], self.role.keeps_catalog());
        self.secrets_key = SecretsKey::read(reader);
        reader.read("data", &mut self.data);
        reader.read("listen", &mut self.listen);
        reader.read("admin_listen", &mut self.admin_listen);
        reader.read("log", &mut self.log);
        reader.read_some("otlp_endpoint", &mut self.otlp_endpoint);
        reader.read("billing", &mut self.billing);

        let limits = &mut self.limits;
        reader.read("limits.connections_max", &mut limits.connections_max);
        reader.read("limits.requests_max", &mut limits.requests_max);
        reader.read("limits.json_bytes_max", &mut limits.json_bytes_max);
        reader.read("limits.component_bytes_max", &mut limits.component_bytes_max);
        reader.read("limits.function_body_bytes_max", &mut limits.function_body_bytes_max);
        reader.read("limits.header_bytes_max", &mut limits.header_bytes_max);
        reader.read("limits.header_read_ms", &mut limits.header_read_ms);
        reader.read("limits.request_deadline_ms", &mut limits.request_deadline_ms);
        reader.read("limits.output_tokens_default", &mut limits.output_tokens_default);
        reader.read("limits.deployments_max", &mut limits.deployments_max);
        reader.read("limits.deployments_mib_max", &mut limits.deployments_mib_max);
        reader.read("limits.log_lines_max", &mut limits.log_lines_max);

        let keys = &mut self.key_limits;
        reader.read("key_limits.concurrency_max", &mut keys.concurrency_max);
        reader.read("key_limits.requests_per_minute_max", &mut keys.requests_per_minute_max);
        reader.read("key_limits.org_concurrency_max", &mut keys.org_concurrency_max);

        self.function_limits.read(reader);
        self.egress = Egress::read(reader);
        reader.read("compiler.memory_mib_max", &mut self.compiler.memory_mib_max);
        reader.read("compiler.cpu_s_max", &mut self.compiler.cpu_s_max);
        self.inference.read(reader);
        self.isolation.read(reader);
        reader.read("bootstrap.org", &mut self.bootstrap.org);
        reader.read("bootstrap.credits", &mut self.bootstrap.credits);
        self.payments = Payments::read(reader);
        self.webhooks = Webhooks::read(reader);
    }

    /// What a type alone does not say.
    fn check(&self, reader: &mut Reader) {
        let limits = &self.limits;
        reader.at_least_one("limits.connections_max", limits.connections_max as u64);
        reader.at_least_one("limits.requests_max", limits.requests_max as u64);
        reader.at_least_one("limits.json_bytes_max", limits.json_bytes_max as u64);
        reader.at_least_one("limits.component_bytes_max", limits.component_bytes_max as u64);
        reader.at_least_one("limits.header_read_ms", limits.header_read_ms);
        reader.at_least_one("limits.request_deadline_ms", limits.request_deadline_ms);
        reader.at_least_one("limits.output_tokens_default", limits.output_tokens_default.into());
        reader.at_least_one("limits.deployments_max", limits.deployments_max as u64);
        reader.at_least_one("limits.deployments_mib_max", limits.deployments_mib_max as u64);
        reader.at_least_one("key_limits.concurrency_max", self.key_limits.concurrency_max.into());
        reader.at_least_one(
            "key_limits.org_concurrency_max",
            self.key_limits.org_concurrency_max.into(),
        );
        self.inference.check(reader);
        self.isolation.check(reader);
        self.function_limits.check(reader);
        // The program itself takes a part of it.
        let enough = self.compiler.memory_mib_max >= 256;
        reader.expect(enough, "compiler.memory_mib_max", "must be at least 256");
        reader.at_least_one("compiler.cpu_s_max", self.compiler.cpu_s_max);
        // A hold outlives its call, and the ledger's holds last a day at most.
        let day_quarter_ms = 6 * 60 * 60 * 1_000;
        let in_time = limits.request_deadline_ms <= day_quarter_ms;
        let reason = "must be at most 21600000, which is 6 hours";
        reader.expect(in_time, "limits.request_deadline_ms", reason);
        // The HTTP library keeps a read buffer of at least this size.
        reader.expect(
            limits.header_bytes_max >= 8 << 10,
            "limits.header_bytes_max",
            "must be at least 8192",
        );
        self.check_role(reader);
        self.payments.check(reader);
        self.webhooks.check(reader);
        let same = self.listen == self.admin_listen && self.listen.port() != 0;
        reader.expect(!same, "admin_listen", "must differ from listen");
        reader.expect(
            self.bootstrap.org.parse::<emberbox_catalog::Name>().is_ok(),
            "bootstrap.org",
            "must be small letters, digits and hyphens, and start with a letter",
        );
        let credits = self.bootstrap.credits.as_nano();
        reader.expect(credits >= 0, "bootstrap.credits", "must not be negative");
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        reader.expect(
            self.otlp_endpoint.as_ref().is_none_or(is_url),
            "otlp_endpoint",
            "must be a URL that starts with http:// or https://",
        );
    }
}

impl Config {
    fn check_role(&self, reader: &mut Reader) {
        self.role.check(reader);
        let metered = self.billing == Billing::Metered || self.role == Role::All;
        reader.expect(
            metered,
            "billing",
            "must be \"metered\" where the ledger is another process",
        );
        if let Role::Billing(service) = &self.role {
            let same = service.listen == self.admin_listen && service.listen.port() != 0;
            reader.expect(!same, "admin_listen", "must differ from billing_service.listen");
        }
    }
}
