use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::secrets::{MISBEHAVE, NAMED, printer};
use crate::support::manifest;

/// A server of its own, ended with the test.
struct Process {
    child: Child,
    url: String,
    key: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Process {
    /// Serves from a home folder, and writes every line that there is to its log.
    fn start(home: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_emberbox"))
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env_clear()
            .env("HOME", home)
            .env("EMBERBOX_DATA", home.join("data"))
            .env("EMBERBOX_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(File::create(home.join("server.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Process { child, url: text("url"), key: text("first_key") }
    }

    /// Runs a command with something on its standard input.
    fn run(&self, home: &Path, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_emberbox"))
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .env("EMBERBOX_URL", &self.url)
            .env("EMBERBOX_API_KEY", &self.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that was refused may have ended before it read anything.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn good(&self, home: &Path, arguments: &[&str], input: &str) -> String {
        let output = self.run(home, arguments, input);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Deploys a function that names secrets, with the command line.
    #[track_caller]
    fn deploy(&self, home: &Path, name: &str, wasm: &[u8]) -> String {
        let folder = home.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("emberbox.toml"), manifest(name, NAMED)).unwrap();
        let component = folder.join("built.wasm");
        std::fs::write(&component, wasm).unwrap();
        let (folder, component) = (folder.to_str().unwrap(), component.to_str().unwrap());
        self.good(home, &["deploy", folder, "--component", component], "")
    }
}

/// Every file below a folder that holds the text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_value_is_in_no_file_no_log_and_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let server = Process::start(home);
    server.good(home, &["secrets", "set", "API_TOKEN"], "hunter2");
    server.deploy(home, "printer", &printer());
    server.deploy(home, "probe", MISBEHAVE);
    for call in [&["invoke", "printer"][..], &["invoke", "probe", "--path", "probe-env"]] {
        let printed = server.good(home, call, "");
        assert!(printed.contains("hunter2"), "{printed}");
    }
    let mut said = String::new();
    for arguments in [
        &["secrets", "list", "--json"][..],
        &["secrets"],
        &["versions", "printer", "--json"],
        &["functions", "--json"],
        &["logs", "printer", "--json"],
        &["receipts", "--json"],
        &["usage", "--receipts", "--json"],
        &["quote", "--function", "local/printer", "--json"],
    ] {
        let answer = server.good(home, arguments, "");
        let shows_names = ["secrets", "versions"].contains(&arguments[0]);
        assert_eq!(answer.contains("API_TOKEN"), shows_names, "{arguments:?}: {answer}");
        said.push_str(&answer);
    }
    assert!(!said.contains("hunter2"), "{said}");
    let data = home.join("data");
    let key = std::fs::read_to_string(data.join("secrets.key")).unwrap();
    assert_eq!(holding(home, "hunter2"), Vec::<String>::new());
    assert_eq!(holding(home, &key), [data.join("secrets.key").display().to_string()]);
    // What looks for them does find what is there.
    assert!(!holding(&data, "API_TOKEN").is_empty());
    let log = home.join("server.log").display().to_string();
    assert!(holding(home, "TRACE").contains(&log));
}

#[test]
fn the_command_line_takes_values_from_files_and_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let server = Process::start(home);
    assert!(server.good(home, &["secrets"], "").contains("no secrets"));
    let deployed = server.deploy(home, "printer", &printer());
    assert!(deployed.contains("the secret 'API_TOKEN' is not set yet"), "{deployed}");
    let prints = |value: &str| {
        let printed = server.good(home, &["invoke", "printer"], "");
        assert!(printed.contains(&format!("API_TOKEN={value}\0")), "{value:?}: {printed}");
    };
    for (input, value) in
        [("a\n", "a"), ("b\r\n", "b"), ("c", "c"), ("d\n\n", "d\n"), ("e\r", "e\r")]
    {
        server.good(home, &["secrets", "set", "API_TOKEN"], input);
        prints(value);
    }
    // A file may be a key whose format wants its last line's end.
    let file = home.join("key.pem");
    std::fs::write(&file, "of a file\r\n").unwrap();
    let from_file = ["secrets", "set", "API_TOKEN", "--from-file", file.to_str().unwrap()];
    server.good(home, &from_file, "ignored");
    prints("of a file\r\n");
    for input in ["", "\n", &"hunter2".repeat(2_000), "hunter2\0"] {
        let refused = server.run(home, &["secrets", "set", "API_TOKEN"], input);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(!String::from_utf8_lossy(&refused.stderr).contains("hunter2"), "{refused:?}");
    }
    assert!(server.good(home, &["secrets", "delete", "API_TOKEN"], "").contains("is deleted"));
    let again = server.run(home, &["secrets", "delete", "API_TOKEN"], "");
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    assert!(!server.good(home, &["invoke", "printer"], "").contains("API_TOKEN"));
}
