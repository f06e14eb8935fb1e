//! Which part of an installation a process is, and where it keeps or finds the rest.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use emberbox_billing::service::TlsFiles;

use super::reader::Reader;

/// What a process does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Everything, with the ledger in this process: the default.
    #[default]
    All,
    /// Everything but the ledger, which another process serves.
    Gateway(RemoteLedger),
    /// The ledger, for gateways in other processes.
    Billing(BillingService),
}

/// How a gateway reaches a ledger in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteLedger {
    /// The service, as `https://billing.example:7443`.
    pub url: String,
    /// The gateway's name, the same after a restart; its certificate has it too.
    pub gateway: String,
    /// The gateway's certificate, and the authority that signed the service's.
    pub tls: TlsFiles,
}

/// How the ledger is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillingService {
    /// Where gateways connect.
    pub listen: SocketAddr,
    /// The service's certificate, and the authority that signed the gateways'.
    pub tls: TlsFiles,
}

/// Where rows are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// In a file of the data folder: the default.
    #[default]
    Sqlite,
    /// In a PostgreSQL database.
    Postgres(SecretUrl),
}

/// An address that may hold a password. It does not show itself in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps the address.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        SecretUrl(url.into())
    }

    /// The address itself, to connect with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

/// The key that secrets of functions are sealed under. It does not show itself in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretsKey(pub [u8; 32]);

impl fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretsKey(…)")
    }
}

impl SecretsKey {
    /// `None` where the data folder has the key.
    pub(super) fn read(reader: &mut Reader) -> Option<SecretsKey> {
        let text = reader.needed("secrets.key", None);
        let mut key = [0; 32];
        let is_key = hex::decode_to_slice(text.trim(), &mut key).is_ok();
        let reason = "must be 64 hexadecimal digits, or empty";
        reader.expect(text.is_empty() || is_key, "secrets.key", reason);
        is_key.then_some(SecretsKey(key))
    }
}

/// The name of a role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RoleName {
    #[default]
    All,
    Gateway,
    Billing,
}

impl FromStr for RoleName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "all" => Ok(RoleName::All),
            "gateway" => Ok(RoleName::Gateway),
            "billing" => Ok(RoleName::Billing),
            _ => Err("expected \"all\", \"gateway\" or \"billing\""),
        }
    }
}

/// The name of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StoreName {
    #[default]
    Sqlite,
    Postgres,
}

impl FromStr for StoreName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "sqlite" => Ok(StoreName::Sqlite),
            "postgres" => Ok(StoreName::Postgres),
            _ => Err("expected \"sqlite\" or \"postgres\""),
        }
    }
}

impl Role {
    /// Reads the role, and what it needs. Settings of other roles may be there too, so that all
    /// processes of an installation can have one file.
    pub(super) fn read(reader: &mut Reader) -> Role {
        let mut name = RoleName::default();
        reader.read("role", &mut name);
        let remote = RemoteLedger::read(reader, name == RoleName::Gateway);
        let service = BillingService::read(reader, name == RoleName::Billing);
        match name {
            RoleName::All => Role::All,
            RoleName::Gateway => Role::Gateway(remote),
            RoleName::Billing => Role::Billing(service),
        }
    }

    /// Whether this process has the ledger open.
    pub(super) fn keeps_ledger(&self) -> bool {
        !matches!(self, Role::Gateway(_))
    }

    /// Whether this process has the catalog open.
    pub(super) fn keeps_catalog(&self) -> bool {
        !matches!(self, Role::Billing(_))
    }

    /// What a type alone does not say. The certificates are looked at now: a mistake in them is one
    /// of the configuration.
    pub(super) fn check(&self, reader: &mut Reader) {
        match self {
            Role::All => {}
            Role::Gateway(RemoteLedger { url, gateway, tls }) => {
                let is_url = url.is_empty() || url.starts_with("https://");
                reader.expect(is_url, "billing.url", "must start with https://");
                if is_complete(tls) && !gateway.is_empty() {
                    let checked = tls.check_client(gateway).map_err(|error| whole(&error));
                    reader.expect_ok("billing.certificate", checked);
                }
            }
            Role::Billing(BillingService { tls, .. }) => {
                if is_complete(tls) {
                    let checked = tls.check_server().map_err(|error| whole(&error));
                    reader.expect_ok("billing_service.certificate", checked);
                }
            }
        }
    }
}

impl RemoteLedger {
    fn read(reader: &mut Reader, needed: bool) -> RemoteLedger {
        let needed = needed.then_some("the role \"gateway\" needs it");
        let names = ["billing.ca", "billing.certificate", "billing.key"];
        RemoteLedger {
            url: reader.needed("billing.url", needed),
            gateway: reader.needed("billing.gateway", needed),
            tls: files(reader, names, needed),
        }
    }
}

impl BillingService {
    fn read(reader: &mut Reader, needed: bool) -> BillingService {
        let needed = needed.then_some("the role \"billing\" needs it");
        let mut listen = SocketAddr::from(([127, 0, 0, 1], 7443));
        reader.read("billing_service.listen", &mut listen);
        let names = ["billing_service.ca", "billing_service.certificate", "billing_service.key"];
        BillingService { listen, tls: files(reader, names, needed) }
    }
}

impl Store {
    /// Reads where something is kept. Who does not open it needs no address.
    pub(super) fn read(
        reader: &mut Reader,
        [store, url]: [&'static str; 2],
        is_opened: bool,
    ) -> Store {
        let mut name = StoreName::default();
        reader.read(store, &mut name);
        let needed = is_opened && name == StoreName::Postgres;
        let needed = needed.then_some("the store \"postgres\" needs it");
        let address = reader.needed(url, needed);
        match name {
            StoreName::Sqlite => {
                let reason = "is for the store \"postgres\" only";
                reader.expect(address.is_empty(), url, reason);
                Store::Sqlite
            }
            StoreName::Postgres => {
                let starts = ["postgres://", "postgresql://"];
                let is_known = starts.iter().any(|start| address.starts_with(start));
                reader.expect(address.is_empty() || is_known, url, "must start with postgres://");
                Store::Postgres(SecretUrl(address))
            }
        }
    }
}

fn files(reader: &mut Reader, names: [&'static str; 3], needed: Option<&'static str>) -> TlsFiles {
    let [ca, certificate, key] = names.map(|name| PathBuf::from(reader.needed(name, needed)));
    TlsFiles { ca, certificate, key }
}

fn is_complete(tls: &TlsFiles) -> bool {
    [&tls.ca, &tls.certificate, &tls.key].iter().all(|file| !file.as_os_str().is_empty())
}

/// An error with its causes, in one line.
fn whole(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", whole(cause)),
        None => error.to_string(),
    }
}
