use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use emberbox::config::{BillingService, Isolation, RemoteLedger, Role};
use emberbox::{Compiler, Config, Running};
use emberbox_billing::service::{CertificateNames, TlsFiles, make_certificates};
use emberbox_billing::{Act, Nano, OpId, Order, Outcome};
use http::HeaderMap;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A free port of this machine.
const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// The name in the gateway's certificate.
const GATEWAY: &str = "gateway-a";

/// One server for one test, and the billing service behind it, if there is one.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) key: String,
    pub(crate) token: String,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    running: Option<Running>,
    pub(crate) service: Option<Running>,
    pub(crate) runtime: Runtime,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks that this is an error in the one shape, with this status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let error = self.json()["error"].clone();
        assert_eq!((self.status, error["code"].as_str()), (status, Some(code)), "{self:?}");
        for field in ["message", "type", "param", "code"] {
            assert!(error.get(field).is_some(), "no {field} in {error}");
        }
        assert!(self.header("x-request-id").is_some(), "no request id in {self:?}");
        error
    }

    /// Checks that it went well, and gives its JSON.
    #[track_caller]
    pub(crate) fn good(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }
}

/// A manifest with more lines of `[function]`, or tables behind it.
pub(crate) fn manifest(name: &str, extra: &str) -> String {
    format!("[function]\nname = \"{name}\"\nmax_cost_per_call = \"0.001\"\n{extra}")
}

pub(crate) fn config(folder: &Path) -> Config {
    let compiler =
        Compiler { program: Some(env!("CARGO_BIN_EXE_emberbox").into()), ..Compiler::default() };
    let isolation = Isolation { enabled: crate::IS_ISOLATED, ..Isolation::default() };
    Config {
        compiler,
        isolation,
        data: folder.join("data"),
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: ([127, 0, 0, 1], 0).into(),
        log: "off".to_owned(),
        ..Config::default()
    }
}

/// Starts a billing service in its own part of the folder, with certificates for it and one
/// gateway.
pub(crate) async fn serve_ledger(folder: &Path, listen: SocketAddr) -> Running {
    let certificates = folder.join("certificates");
    if !certificates.exists() {
        let names = CertificateNames {
            server: vec!["127.0.0.1".to_owned()],
            gateways: vec![GATEWAY.to_owned()],
            valid_days: 7,
        };
        make_certificates(&certificates, &names).unwrap();
    }
    let service = BillingService { listen, tls: tls(folder, "server") };
    let data = folder.join("billing");
    let config = Config { role: Role::Billing(service), data, ..config(folder) };
    emberbox::start(config).await.unwrap()
}

fn tls(folder: &Path, name: &str) -> TlsFiles {
    let certificates = folder.join("certificates");
    TlsFiles {
        ca: certificates.join("ca.pem"),
        certificate: certificates.join(format!("{name}.pem")),
        key: certificates.join(format!("{name}.key")),
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change)
    }

    pub(crate) fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut config = config(folder.path());
        let service = crate::LEDGER_IS_REMOTE
            .then(|| runtime.block_on(Box::pin(serve_ledger(folder.path(), ANY_PORT))));
        if let Some(service) = &service {
            config.role = Role::Gateway(RemoteLedger {
                url: format!("https://{}", service.public),
                gateway: GATEWAY.to_owned(),
                tls: tls(folder.path(), &format!("gateway-{GATEWAY}")),
            });
        }
        change(&mut config);
        let running = runtime.block_on(Box::pin(emberbox::start(config))).unwrap();
        Server {
            folder,
            key: running.first_key.clone().unwrap_or_default(),
            token: running.operator_token.clone(),
            public: running.public,
            admin: running.admin,
            running: Some(running),
            service,
            runtime,
        }
    }

    /// Stops the server and gives its folder back.
    pub(crate) fn stop(mut self) -> TempDir {
        let servers = [self.running.take(), self.service.take()];
        for running in servers.into_iter().flatten() {
            self.runtime.block_on(running.shutdown(Duration::from_secs(10)));
        }
        self.folder
    }

    /// Gives the ledger an order.
    pub(crate) fn order(&self, act: Act) -> Outcome {
        let order = Order { op: OpId::generate(), by: "test".to_owned(), act };
        let billing = self.running.as_ref().unwrap().billing();
        self.runtime.block_on(billing.order(order)).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &self.key, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &self.key, Some(body.to_string().as_bytes()))
    }

    /// A request to the public listener with any key; without one when the key is empty.
    pub(crate) fn send(&self, method: &str, path: &str, key: &str, body: Option<&[u8]>) -> Answer {
        send(self.public, (method, path), key, &[], body)
    }

    /// A request to the operator's listener with its token.
    pub(crate) fn operate(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = (!body.is_null()).then(|| body.to_string());
        send(self.admin, (method, path), &self.token, &[], body.as_ref().map(String::as_bytes))
    }

    /// Publishes a prebuilt guest under the first organisation.
    pub(crate) fn deploy(&self, name: &str, wasm: &[u8], extra: &str) -> Answer {
        self.deploy_manifest(name, wasm, &manifest(name, extra))
    }

    pub(crate) fn deploy_manifest(&self, name: &str, wasm: &[u8], manifest: &str) -> Answer {
        self.deploy_as(&self.key, name, (wasm, manifest))
    }

    /// The same with another key.
    pub(crate) fn deploy_as(
        &self,
        key: &str,
        name: &str,
        (wasm, manifest): (&[u8], &str),
    ) -> Answer {
        let manifest = BASE64_STANDARD.encode(manifest);
        let headers =
            [("content-type", "application/wasm"), ("x-emberbox-manifest", manifest.as_str())];
        let path = format!("/v1/functions/{name}/versions");
        send(self.public, ("POST", &path), key, &headers, Some(wasm))
    }

    /// What the first organisation has, in nano-credits: posted and held.
    pub(crate) fn balance(&self) -> (i64, i64) {
        let credits = self.get("/v1/credits").good();
        (nano(&credits["posted"]), nano(&credits["held"]))
    }

    /// The newest receipt; `None` when there is none.
    pub(crate) fn newest_receipt(&self) -> Option<Value> {
        self.get("/v1/receipts?limit=1").good()["data"].get(0).cloned()
    }

    /// Waits until nothing is held and the newest receipt passes.
    pub(crate) fn wait_for_receipt(&self, passes: impl Fn(&Value) -> bool) -> Value {
        wait_for("a receipt", || {
            let receipt = self.newest_receipt().filter(|receipt| passes(receipt))?;
            (self.balance().1 == 0).then_some(receipt)
        })
    }

    /// Checks that the ledger agrees with itself, and that all receipts sum to what was spent.
    #[track_caller]
    pub(crate) fn ledger_is_sound(&self) {
        let check = self.operate("GET", "/admin/v1/ledger/check", &Value::Null).good();
        assert_eq!(check["ok"], json!(true), "{check}");
        assert_eq!(check["debits"], check["credits"], "{check}");
        assert_eq!(check["captured"], check["receipted"], "{check}");
        assert_eq!(check["holds_open"], json!(0), "{check}");
    }

    /// A chat request for the bundled model.
    pub(crate) fn chat(&self, extra: &Value) -> Answer {
        self.post("/v1/chat/completions", &chat_body(extra))
    }

    /// A second organisation with its own key and credits.
    pub(crate) fn other_org(&self, name: &str, credits: &str) -> String {
        let made = self.operate("POST", "/admin/v1/orgs", &json!({ "name": name })).good();
        if credits != "0" {
            let top_up = json!({ "org": name, "amount": credits, "id": name, "note": "test" });
            self.operate("POST", "/admin/v1/credits", &top_up).good();
        }
        made["key"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn chat_body(extra: &Value) -> Value {
    let mut body = json!({
        "model": "tiny-storyteller",
        "messages": [{ "role": "user", "content": "Tell me a story." }],
        "max_tokens": 12,
        "temperature": 0,
    });
    let fields = body.as_object_mut().unwrap();
    fields.extend(extra.as_object().cloned().unwrap_or_default());
    body
}

/// Credits in a JSON string as nano-credits.
pub(crate) fn nano(value: &Value) -> i64 {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is not a string"))
        .parse::<Nano>()
        .unwrap()
        .as_nano()
}

pub(crate) fn send(
    to: SocketAddr,
    (method, path): (&str, &str),
    key: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Answer {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .proxy(None)
        .timeout_global(Some(PATIENCE));
    let agent = config.build().new_agent();
    let mut request = http::Request::builder().method(method).uri(format!("http://{to}{path}"));
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = match body {
        Some(body) => agent.run(request.body(body).unwrap()),
        None => agent.run(request.body(()).unwrap()),
    };
    let (parts, mut body) = answer.unwrap().into_parts();
    let text = body.read_to_string().unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, text }
}

/// Waits for a condition that comes true by itself.
pub(crate) fn wait_for<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::yield_now();
    }
}

/// A connection spoken by hand, for clients that do not behave.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.public).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw(stream)
    }

    /// Sends a request's head, and as much of its body as is given.
    pub(crate) fn send(&mut self, server: &Server, head: &str, headers: &str, body: &str) {
        let key = &server.key;
        let text = format!(
            "{head} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n{headers}\r\n{body}"
        );
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Sends bytes as they are, and waits until the server ends the connection.
    pub(crate) fn send_and_be_cut_off(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        if let Err(error) = self.0.read_to_end(&mut Vec::new()) {
            // Closing with bytes that nobody read resets the connection.
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }

    /// Reads until the server ends the connection, well or not.
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut read) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Posts JSON.
    pub(crate) fn post(&mut self, server: &Server, path: &str, body: &Value) {
        let body = body.to_string();
        let headers = format!("content-length: {}\r\n", body.len());
        self.send(server, &format!("POST {path}"), &headers, &body);
    }

    /// Reads until the text appears; gives everything read so far.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let so_far = String::from_utf8_lossy(&read);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
            let count = match self.0.read(&mut buffer) {
                // A process of the server's has ended.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            assert!(count > 0, "the connection ended before {text:?}: {so_far}");
            read.extend_from_slice(&buffer[..count]);
        }
    }
}
