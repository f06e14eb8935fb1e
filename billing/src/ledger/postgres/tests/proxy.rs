//! A connection that breaks when told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What becomes of the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are passed on.
    Pass,
    /// The client's bytes arrive; the answer is lost, and so is the connection.
    LoseAnswer,
    /// The client's bytes are lost, and so is the connection.
    LoseQuestion,
}

/// Stands between a client and the server. After one loss it passes everything again.
pub(super) struct Proxy {
    pub(super) port: u16,
    mode: Arc<Mutex<Mode>>,
}

impl Proxy {
    pub(super) fn to(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(Mutex::new(Mode::Pass));
        let watched = Arc::clone(&mode);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&server).unwrap();
                pipe((&client, &server), (Mode::LoseQuestion, Arc::clone(&watched)));
                pipe((&server, &client), (Mode::LoseAnswer, Arc::clone(&watched)));
            }
        });
        Proxy { port, mode }
    }

    pub(super) fn lose(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }
}

/// Copies bytes until either end closes or this direction is the one to lose.
fn pipe((from, to): (&TcpStream, &TcpStream), (loses, mode): (Mode, Arc<Mutex<Mode>>)) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let count = from.read(&mut bytes).unwrap_or(0);
            if count == 0 || is_lost(&mode, loses) || to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        // Both may be closed already.
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    });
}

/// Whether this direction is told to lose what it has: once.
fn is_lost(mode: &Mutex<Mode>, loses: Mode) -> bool {
    let mut mode = mode.lock().unwrap();
    let lost = *mode == loses;
    if lost {
        *mode = Mode::Pass;
    }
    lost
}
