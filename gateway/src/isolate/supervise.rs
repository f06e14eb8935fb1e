//! Keeps a process running: started, listened to, and started again when it has ended.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::process::Started;
use super::wire::{Lost, Peer, Service};

/// Between the end of a process and its next start. It doubles while starts fail or processes end
/// soon, so that one that cannot run does not take the machine.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];
/// A process that has run for this long was well.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// How often a process is asked whether it is there, and how long it may take to say so, beside all
/// that it does.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// What happens around a process.
pub(super) trait Supervised: Send + Sync + 'static {
    /// What hears what the process says.
    type Heard: Service;

    /// For one life of the process.
    fn listener(&self, peer: &Peer) -> Arc<Self::Heard>;

    /// The process is there; false when it has ended already.
    fn begun(&self, peer: &Peer, heard: &Arc<Self::Heard>) -> impl Future<Output = bool> + Send;

    /// Whether it still answers; a process that is stuck does not.
    fn answers(&self, peer: &Peer) -> impl Future<Output = Result<(), Lost>> + Send;

    /// It is not there any more.
    fn ended(&self);

    /// Resolves when nobody needs the process any more.
    fn unneeded(&self) -> impl Future<Output = ()> + Send;
}

/// Starts a process and keeps it running until nobody needs it. The first start must succeed.
pub(super) async fn supervise<S: Supervised>(
    name: &'static str,
    start: impl Fn() -> io::Result<Started> + Send + 'static,
    supervised: S,
) -> io::Result<()> {
    let (mut life, heard) = Life::begin(start()?, &supervised);
    if !supervised.begun(&life.peer, &heard).await {
        return Err(io::Error::other(format!("the process for {name} ended as it began")));
    }
    tokio::spawn(async move {
        let mut pause = PAUSES[0];
        loop {
            tokio::select! {
                () = life.end(name, &supervised) => supervised.ended(),
                // The process ends when its life is dropped.
                () = supervised.unneeded() => return,
            }
            pause = if life.since.elapsed() > WELL_AFTER { PAUSES[0] } else { pause };
            let (next, heard) = loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES[1]);
                match start() {
                    Ok(started) => break Life::begin(started, &supervised),
                    Err(error) => tracing::error!(name, %error, "a process cannot be started"),
                }
            };
            life = next;
            supervised.begun(&life.peer, &heard).await;
        }
    });
    Ok(())
}

/// Resolves when a process has not answered for long.
async fn is_stuck<S: Supervised>(supervised: &S, peer: &Peer) {
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let answers = tokio::time::timeout(ANSWERS_WITHIN, supervised.answers(peer)).await;
        if answers.is_err() {
            return;
        }
    }
}

/// One process from its start to its end.
struct Life {
    peer: Peer,
    process: tokio::process::Child,
    since: Instant,
}

impl Life {
    fn begin<S: Supervised>(started: Started, supervised: &S) -> (Self, Arc<S::Heard>) {
        let Started { process, socket } = started;
        let peer = Peer::new(socket);
        let listener = supervised.listener(&peer);
        let (listening, heard) = (peer.clone(), Arc::clone(&listener));
        tokio::spawn(async move { listening.listen(listener).await });
        (Self { peer, process, since: Instant::now() }, heard)
    }

    /// Waits until the process is gone, or is no use any more; then it is ended.
    async fn end<S: Supervised>(&mut self, name: &'static str, supervised: &S) {
        let status = tokio::select! {
            status = self.process.wait() => Some(status),
            () = self.peer.gone() => None,
            () = is_stuck(supervised, &self.peer) => {
                tracing::error!(name, "a part of the server does not answer");
                None
            }
        };
        self.peer.hang_up();
        let status = match status {
            Some(status) => status,
            None => {
                if let Err(error) = self.process.start_kill() {
                    tracing::debug!(name, %error, "a process has ended already");
                }
                self.process.wait().await
            }
        };
        match status {
            Ok(status) => tracing::error!(name, %status, "a part of the server ended"),
            Err(error) => tracing::error!(name, %error, "a part of the server ended"),
        }
    }
}
