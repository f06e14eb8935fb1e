//! The service and its client over real sockets with real certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::billing::Billing;

mod broken; // Connections that break between a hold and its void.
mod doors; // Who is let in, and with what.
mod files; // Certificate files and their mistakes.
mod holders; // Whose hold it is.
mod life; // The whole interface, with a real ledger behind it.
mod lost; // Lost connections and restarts.
mod parts; // Batches that are too much.
mod pressure; // Limits, and who waits for whom.
mod renewed; // Certificates that are replaced.
mod scripted; // A ledger that answers what a test wants.

/// An installation: certificates for one service and two gateways.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        make_certificates(folder.path(), &names(&["localhost", "127.0.0.1"], &["gw-1", "gw-2"]))
            .unwrap();
        Site { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The files of one side: `server`, `gateway-gw-1`.
    fn tls(&self, name: &str) -> TlsFiles {
        TlsFiles {
            ca: self.path().join("ca.pem"),
            certificate: self.path().join(format!("{name}.pem")),
            key: self.path().join(format!("{name}.key")),
        }
    }

    async fn serve(&self, billing: Arc<dyn Billing>, limits: ServiceLimits) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.serve_on(listener, billing, limits)
    }

    fn serve_on(
        &self,
        listener: TcpListener,
        billing: Arc<dyn Billing>,
        limits: ServiceLimits,
    ) -> Service {
        let address = listener.local_addr().unwrap();
        let options = ServiceOptions { tls: self.tls("server"), limits };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, billing, options, async {
            drop(stopped.await);
        }));
        Service { address, stop, task }
    }

    fn options(&self, address: SocketAddr) -> RemoteOptions {
        RemoteOptions {
            url: format!("https://localhost:{}", address.port()),
            gateway: "gw-1".to_owned(),
            tls: self.tls("gateway-gw-1"),
            limits: RemoteLimits {
                // Long enough for a busy machine; tests that wait for the end set less.
                connect_for: Duration::from_secs(60),
                hold_retry_for: Duration::from_secs(60),
                retry_for: Duration::from_secs(60),
                prices_every: Duration::from_millis(20),
                ..RemoteLimits::default()
            },
        }
    }

    async fn connect(&self, service: &Service) -> Arc<RemoteBilling> {
        RemoteBilling::connect(self.options(service.address)).await.unwrap()
    }

    /// Sends text over TLS and reads the answer to its end: HTTP/1.1 by hand.
    async fn talk(&self, service: &Service, name: &str, request: &str) -> std::io::Result<String> {
        let gateway = name.strip_prefix("gateway-").unwrap();
        let config = self.tls(name).client(gateway).unwrap();
        let mut config = Arc::unwrap_or_clone(config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        talk(service.address, Arc::new(config), request).await
    }

    /// A request by hand, and its answer's status and body.
    async fn ask(&self, service: &Service, what: (&str, &str), body: &str) -> (u16, String) {
        let (method, path) = what;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let answer = self.talk(service, "gateway-gw-1", &request).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

async fn talk(
    address: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    request: &str,
) -> std::io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        // Without a farewell; what came, came.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    Ok(String::from_utf8(answer).unwrap())
}

fn names(server: &[&str], gateways: &[&str]) -> CertificateNames {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    CertificateNames { server: owned(server), gateways: owned(gateways), valid_days: 30 }
}

/// A service that runs.
struct Service {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServiceError>>,
}

impl Service {
    async fn stop(self) -> SocketAddr {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
        self.address
    }
}

/// Waits for a condition that other tasks bring about.
async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let all = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), all).await.is_ok(), "never: {what}");
}
