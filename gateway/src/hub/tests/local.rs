//! A hub on this machine: the paths of the real one, its storage on another port, and faults to
//! order. It speaks HTTP by hand, so that a connection breaks exactly where a test wants it to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The repository of every hub here.
pub(crate) const REPOSITORY: &str = "acme/tiny";
/// Files on one page of a listing.
const PAGE_FILES: usize = 3;

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// Whether the storage was asked, not the hub.
    pub(crate) of_storage: bool,
    pub(crate) target: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
}

#[derive(Debug, Clone)]
struct Stored {
    bytes: Vec<u8>,
    large: bool,
}

/// What the hub has. Commits are named by their number.
#[derive(Debug, Default)]
pub(crate) struct State {
    commits: BTreeMap<String, BTreeMap<String, Stored>>,
    /// Where branches are.
    pub(crate) branches: BTreeMap<String, String>,
    /// The token without which nothing is handed out.
    pub(crate) gate: Option<String>,
    /// What the storage does instead of answering well; each is used up by one request:
    /// `cut N` ends the connection after so many bytes of the body, `status N HEADER` answers
    /// with that, `no range` sends the whole file, `garbage` other bytes, `longer` one too many.
    pub(crate) faults: VecDeque<String>,
    pub(crate) asked: Vec<Asked>,
    /// A file of git's own that is not what the listing says.
    pub(crate) lie: Option<String>,
    /// Where redirections go, when not to the storage.
    pub(crate) elsewhere: Option<String>,
    storage: String,
}

/// The hub; it ends when it is dropped.
pub(crate) struct LocalHub {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    threads: Vec<(String, JoinHandle<()>)>,
}

impl LocalHub {
    /// A hub with one commit, `main`, of these files. Those that end in `.safetensors` or `.gguf`
    /// are large.
    pub(crate) fn start(files: &[(&str, &[u8])]) -> Self {
        let mut hub = LocalHub {
            url: String::new(),
            state: Arc::default(),
            ended: Arc::default(),
            threads: Vec::new(),
        };
        hub.url = hub.listen(false);
        let storage = hub.listen(true);
        hub.state().storage = storage;
        hub.push(files);
        hub
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes a commit of these files, to which `main` moves; gives its name.
    pub(crate) fn push(&self, files: &[(&str, &[u8])]) -> String {
        let mut state = self.state();
        let commit = format!("{:040x}", state.commits.len() + 10);
        let stored = files.iter().map(|(path, bytes)| {
            let large = path.ends_with(".safetensors") || path.ends_with(".gguf");
            ((*path).to_owned(), Stored { bytes: bytes.to_vec(), large })
        });
        let stored = stored.collect();
        state.commits.insert(commit.clone(), stored);
        state.branches.insert("main".to_owned(), commit.clone());
        commit
    }

    /// Requests for contents, and forgets all that came.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    fn listen(&mut self, of_storage: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (state, ended) = (Arc::clone(&self.state), Arc::clone(&self.ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !ended.load(Ordering::SeqCst)) {
                // A client that leaves early is no failure of the hub.
                serve(&state, of_storage, &stream.unwrap()).ok();
            }
        });
        self.threads.push((address.clone(), thread));
        format!("http://{address}")
    }
}

impl Drop for LocalHub {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for (address, thread) in self.threads.drain(..) {
            drop(TcpStream::connect(address));
            thread.join().unwrap();
        }
    }
}

/// Answers one request and closes the connection.
fn serve(state: &Mutex<State>, of_storage: bool, stream: &TcpStream) -> std::io::Result<()> {
    let mut asked = Asked { of_storage, ..Asked::default() };
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    asked.target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    for line in lines {
        let line = line?;
        match line.split_once(':') {
            None => break,
            Some((name, value)) => {
                let value = Some(value.trim().to_owned());
                match name.to_ascii_lowercase().as_str() {
                    "range" => asked.range = value,
                    "authorization" => asked.authorization = value,
                    _ => {}
                }
            }
        }
    }
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked.clone());
        if of_storage { state.storage(&asked) } else { state.hub(&asked) }
    };
    let mut stream = stream;
    stream.write_all(&answer)?;
    stream.shutdown(Shutdown::Both)
}

fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

impl State {
    fn hub(&mut self, asked: &Asked) -> Vec<u8> {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        let api = format!("/api/models/{REPOSITORY}");
        let expected = self.gate.as_ref().map(|token| format!("Bearer {token}"));
        if let Some(revision) = path.strip_prefix(&format!("{api}/revision/")) {
            let commit = self.branches.get(&revision.replace("%2F", "/"));
            return match commit {
                Some(commit) => answer(200, "", json!({ "sha": commit }).to_string().as_bytes()),
                None => answer(404, "x-error-code: RevisionNotFound\r\n", b""),
            };
        }
        if let Some(commit) = path.strip_prefix(&format!("{api}/tree/")) {
            return self.tree(commit, query);
        }
        if let Some((commit, file)) = path.strip_prefix("/cache/").and_then(|p| p.split_once('/')) {
            return self.cached(commit, file);
        }
        let resolve = format!("/{REPOSITORY}/resolve/");
        let Some((commit, file)) =
            path.strip_prefix(&resolve).and_then(|rest| rest.split_once('/'))
        else {
            return answer(401, "x-error-code: RepoNotFound\r\n", b"");
        };
        if expected.is_some() && expected != asked.authorization {
            return answer(401, "x-error-code: GatedRepo\r\n", b"");
        }
        match self.commits.get(commit).and_then(|files| files.get(file)) {
            None => answer(404, "x-error-code: EntryNotFound\r\n", b""),
            Some(stored) if stored.large => {
                let host = self.elsewhere.as_ref().unwrap_or(&self.storage);
                let location = format!("location: {host}/{commit}/{file}?signature=s3cret\r\n");
                answer(302, &location, b"Found")
            }
            // As the hub does: git's own files come from a cache of its own.
            Some(_) => {
                let location = format!("location: /cache/{commit}/{file}\r\n");
                answer(307, &location, b"Temporary Redirect")
            }
        }
    }

    fn cached(&self, commit: &str, file: &str) -> Vec<u8> {
        if self.lie.as_deref() == Some(file) {
            return answer(200, "", b"{}");
        }
        answer(200, "", &self.commits[commit][file].bytes)
    }

    /// A page of the listing, and a link to the next.
    fn tree(&self, commit: &str, query: &str) -> Vec<u8> {
        let from = query.split_once("cursor=").map_or(0, |(_, number)| number.parse().unwrap());
        let files = &self.commits[commit];
        let mut entries: Vec<Value> = files.iter().skip(from).take(PAGE_FILES).map(entry).collect();
        entries.push(json!({ "type": "directory", "path": "a", "size": 0, "oid": "0" }));
        // As some mirrors do, it names the hub that it mirrors.
        let next = format!(
            "link: <https://hub.invalid/api?recursive=true&cursor={}>; rel=\"next\"\r\n",
            from + PAGE_FILES
        );
        let next = if from + PAGE_FILES < files.len() { next } else { String::new() };
        answer(200, &next, Value::Array(entries).to_string().as_bytes())
    }

    fn storage(&mut self, asked: &Asked) -> Vec<u8> {
        let path = asked.target.split('?').next().unwrap().trim_start_matches('/');
        let (commit, file) = path.split_once('/').unwrap();
        let bytes = self.commits[commit][file].bytes.clone();
        let from = asked.range.as_ref().map(|range| {
            let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
            from.unwrap().parse::<usize>().unwrap()
        });
        let whole = bytes.len();
        let send = |from: Option<usize>| match from {
            Some(from) => {
                let range = format!("content-range: bytes {from}-{}/{whole}\r\n", whole - 1);
                answer(206, &range, &bytes[from..])
            }
            None => answer(200, "", &bytes),
        };
        let Some(fault) = self.faults.pop_front() else { return send(from) };
        let words: Vec<&str> = fault.splitn(3, ' ').collect();
        match words[..] {
            ["no", "range"] => send(None),
            ["status", status, header] => answer(status.parse().unwrap(), header, b"no"),
            ["cut", count] => {
                let mut whole = send(from);
                let head = whole.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
                whole.truncate(head + count.parse::<usize>().unwrap());
                whole
            }
            ["garbage"] => answer(200, "", &vec![b'!'; whole]),
            ["longer"] => answer(200, "", &[&bytes[..], b"!"].concat()),
            _ => panic!("no such fault: {fault}"),
        }
    }
}

/// An entry of the listing, as the hub writes it.
fn entry((path, stored): (&String, &Stored)) -> Value {
    let size = stored.bytes.len();
    let mut blob = Sha1::new_with_prefix(format!("blob {size}\0"));
    blob.update(&stored.bytes);
    let oid = hex::encode(blob.finalize());
    if !stored.large {
        return json!({ "type": "file", "path": path, "size": size, "oid": oid });
    }
    let sha256 = hex::encode(Sha256::digest(&stored.bytes));
    json!({
        "type": "file", "path": path, "size": size, "oid": "0".repeat(40),
        "lfs": { "oid": sha256, "size": size, "pointerSize": 134 },
    })
}
