//! The demo as a script runs it: the real binary, a real server, nothing left behind.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs the binary without the environment of whoever runs the tests.
fn emberbox(arguments: &[&str], home: &std::path::Path) -> std::io::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emberbox"));
    command.args(arguments).env_clear().env("HOME", home).env("TMPDIR", home);
    command.output()
}

#[test]
fn the_demo_holds_and_cleans_up() {
    let home = tempfile::tempdir().unwrap();
    let output = emberbox(&["demo", "--json", "--exit"], home.path()).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}\n{stdout}\n{shown}"));
    assert!(output.status.success(), "{report:#}\n{shown}");
    assert_eq!(report["ok"], true, "{report:#}");

    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    let expected =
        ["start", "chat", "deploy", "function", "story", "search", "usage", "refusal", "books"];
    assert_eq!(names, expected);
    for step in steps {
        assert_eq!(step["status"], "ok", "{step}");
        assert!(step["ms"].is_u64(), "{step}");
        let cost: f64 = step["cost"].as_str().unwrap().parse().unwrap();
        let charged = ["chat", "function", "story", "search", "refusal"];
        let is_charged = charged.contains(&step["name"].as_str().unwrap());
        assert_eq!(cost > 0.0, is_charged, "{step}");
    }
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?} behind");
}

#[test]
fn exit_codes_tell_failures_apart() {
    let home = tempfile::tempdir().unwrap();
    let bad = home.path().join("bad.toml");
    std::fs::write(&bad, "listen = \"nowhere\"\nsurprise = 1\n").unwrap();
    // Nobody listens on this port by the time the command runs.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{free}");
    for (arguments, code, said) in [
        (vec!["frobnicate"], 2, "unrecognized subcommand"),
        (vec!["invoke", "Not A Name"], 2, "a name starts with a small letter"),
        (vec!["keys"], 64, "no API key is set"),
        (vec!["credits", "add", "1", "--org", "local"], 64, "there is no operator token"),
        (vec!["serve", "--config", bad.to_str().unwrap()], 64, "surprise"),
        (vec!["deploy", home.path().to_str().unwrap(), "--key", "eb_x"], 64, "emberbox.toml"),
        (vec!["usage", "--url", &nobody, "--key", "eb_x"], 1, "no Emberbox server answers at"),
        (vec!["usage", "--url", "nowhere", "--key", "eb_x"], 64, "is not the address of a server"),
    ] {
        let output = emberbox(&arguments, home.path()).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
    }
}

#[test]
fn errors_are_json_when_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let output = emberbox(&["keys", "--json"], home.path()).unwrap();
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["message"], "no API key is set");
    assert_eq!(error["error"]["exit_code"], 64);
}
