//! Clients and guests that do what they must not, all of them at once on one server, beside a neighbour
//! that must not notice. The program has one test: what it counts belongs to the whole process.

/// Whether the servers of these tests have their ledger in a billing service.
#[cfg(test)]
const LEDGER_IS_REMOTE: bool = false;
/// Whether functions and models run in processes of their own.
#[cfg(test)]
const IS_ISOLATED: bool = false;

/// An upload that takes too much to compile.
#[cfg(test)]
#[path = "../gateway/bomb.rs"]
mod bomb;
/// Clients that read slowly, send for ever, or leave.
#[cfg(test)]
mod clients;
/// How the texts of hostile guests become components.
#[cfg(test)]
#[path = "../../../runtime/tests/sandbox/guest_text.rs"]
mod guest_text;
/// Guests that take, spin, trap and reach for what is not theirs.
#[cfg(test)]
mod guests;
/// A server on free ports in a temporary folder, and requests to it.
#[cfg(test)]
#[path = "../gateway/support.rs"]
#[expect(dead_code, reason = "the test needs a part of it")]
mod support;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::Value;

    use super::support::{Server, chat_body, send, wait_for};
    use super::{clients, guests};

    /// Instances that the server can have at a time.
    const INSTANCES: u32 = 64;

    const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");
    const MISBEHAVE: &[u8] = include_bytes!("../../../examples/prebuilt/misbehave.wasm");
    const STORYTELLER: &[u8] = include_bytes!("../../../examples/prebuilt/storyteller.wasm");

    fn server() -> Server {
        let server = Server::start_with(|config| {
            config.function_limits.instances_max = INSTANCES;
            config.limits.function_body_bytes_max = 1 << 20;
            config.limits.component_bytes_max = 2 << 20;
            config.limits.request_deadline_ms = 15_000;
            config.compiler.memory_mib_max = 256;
            config.egress.hosts = "*".parse().unwrap();
        });
        let model = "models = [\"tiny-storyteller\"]";
        let short = "[limits]\nwall_ms = 1000";
        let small = format!("{model}\n[limits]\ncpu_ms = 100\nmemory_mib = 16");
        let reach = "outbound_hosts = [\"*\"]";
        for (name, wasm, rest) in [
            ("hello", HELLO, ""),
            ("storyteller", STORYTELLER, model),
            ("misbehave", MISBEHAVE, model),
            ("unread", MISBEHAVE, short),
            ("short", MISBEHAVE, short),
            ("small", MISBEHAVE, &small),
            ("reach", MISBEHAVE, reach),
        ] {
            assert_eq!(server.deploy(name, wasm, rest).status, 201, "{name}");
        }
        server
    }

    /// Everything that starts with its first use has started.
    fn warm_up(server: &Server) {
        for function in ["hello", "misbehave", "unread", "short", "small", "reach"] {
            assert_eq!(server.get(&format!("/f/local/{function}/")).status, 200, "{function}");
        }
        server.get("/f/local/small/spin").refused(504, "deadline_exceeded");
        server.get("/f/local/storyteller/?about=a+fox");
        server.post("/v1/chat/completions", &chat_body(&Value::Null)).good();
        server.get("/f/local/reach/fetch?url=http://localhost:1").good();
    }

    /// What this process has: tasks, threads and open files.
    fn holdings(server: &Server) -> [usize; 3] {
        let entries = |folder: &str| fs::read_dir(folder).unwrap().count();
        let tasks = server.runtime.metrics().num_alive_tasks();
        [tasks, entries("/proc/self/task"), entries("/proc/self/fd")]
    }

    /// What it has when nothing is held and no request is in progress.
    fn at_rest(server: &Server) -> Option<[usize; 3]> {
        let metrics = send(server.admin, ("GET", "/metrics"), "", &[], None).text;
        let idle = metrics.lines().any(|line| line == "emberbox_requests_running 0");
        (idle && server.balance().1 == 0).then(|| holdings(server))
    }

    /// Calls hello until it is told to stop; how many times it was answered.
    fn neighbour(server: &Server, stop: &AtomicBool) -> usize {
        let mut answered = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = server.get("/f/local/hello/");
            assert_eq!((answer.status, answer.text.as_str()), (200, "Hello, world!\n"));
            answered += 1;
        }
        answered
    }

    type Deed = fn(&Server);

    const DEEDS: [(&str, Deed); 11] = [
        ("clients that never read", clients::never_read),
        ("clients that read slowly", clients::read_slowly),
        ("clients that leave before the answer", clients::leave_before_the_answer),
        ("clients that leave during the answer", clients::leave_during_the_answer),
        ("bodies that stall", clients::stall),
        ("bodies without end", clients::send_without_end),
        ("committed guests", guests::committed),
        ("misdeeds", guests::misdeeds),
        ("answers that break", guests::broken_answers),
        ("requests to the inside", guests::reach_inside),
        ("uploads", guests::uploads),
    ];

    /// All of them, beside the neighbour; which of them went wrong.
    fn commit_all(server: &Server) -> Vec<&'static str> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let neighbour = scope.spawn(|| neighbour(server, &stop));
            let started = DEEDS.map(|(name, deed)| (name, scope.spawn(move || deed(server))));
            let ended = started.map(|(name, thread)| (name, thread.join()));
            stop.store(true, Ordering::Relaxed);
            assert!(neighbour.join().unwrap() > DEEDS.len(), "the neighbour was kept waiting");
            ended.into_iter().filter(|(_, end)| end.is_err()).map(|(name, _)| name).collect()
        })
    }

    #[test]
    fn nobody_notices_and_nothing_is_left() {
        let server = server();
        warm_up(&server);
        let before = wait_for("rest", || at_rest(&server));
        assert_eq!(commit_all(&server), Vec::<&str>::new());

        wait_for("the end of it all", || {
            let after = at_rest(&server)?;
            before.iter().zip(after).all(|(before, after)| after <= *before).then_some(())
        });
        server.ledger_is_sound();
        // Every slot is free again.
        let slow: Vec<_> = (0..INSTANCES).map(|_| clients::begin_slow(&server)).collect();
        server.get("/f/local/hello/").refused(503, "server_overloaded");
        drop(slow);
        wait_for("a slot", || (server.get("/f/local/hello/").status == 200).then_some(()));
        wait_for("rest", || at_rest(&server));
        server.ledger_is_sound();
    }
}
