use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::Server;

const HELLO: &[u8] = include_bytes!("../../../examples/prebuilt/hello.wasm");

/// Runs the command line as an operator would, with a home that is empty.
fn emberbox(home: &Path, admin: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emberbox"))
        .args(arguments)
        .arg("--json")
        .env_clear()
        .env("HOME", home)
        .env("EMBERBOX_ADMIN_URL", admin)
        .output()
        .unwrap()
}

#[track_caller]
fn good(output: &Output) -> Value {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("not JSON: {out}"))
}

/// An admin listener that is not there.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn a_backup_made_while_serving_becomes_the_same_server() {
    let server = Server::start();
    let home = server.folder.path().to_owned();
    let (admin, data) = (format!("http://{}", server.admin), home.join("data"));
    assert_eq!(server.deploy("hello", HELLO, "").status, 201);
    server.chat(&json!({})).good();
    let (balance, key) = (server.balance(), server.key.clone());
    let backup = home.join("backup");
    let (to, data) = (backup.to_str().unwrap(), data.to_str().unwrap());
    let made = good(&emberbox(&home, &admin, &["backup", to, "--data", data]));
    let files: Vec<&str> =
        made["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert!(files.contains(&"ledger.db") && files.contains(&"catalog.db"), "{files:?}");
    assert!(files.iter().any(|file| file.starts_with("artifacts/")), "{files:?}");
    // The values of secrets are, and what opens them is not.
    assert!(!files.contains(&"secrets.key"), "{files:?}");
    assert!(made["not_included"].to_string().contains("secrets.key"), "{made}");
    // Into a folder that is there: no. What the server did since is not in the copy.
    assert!(!emberbox(&home, &admin, &["backup", to, "--data", data]).status.success());
    server.chat(&json!({})).good();
    let folder = server.stop();

    let restored = home.join("restored");
    let target = restored.to_str().unwrap();
    good(&emberbox(&home, NOBODY, &["restore", to, "--data", target]));
    assert!(!emberbox(&home, NOBODY, &["restore", to, "--data", target]).status.success());
    let mut server = Server::start_in(folder, |config| config.data.clone_from(&restored));
    assert!(server.key.is_empty(), "nobody is created anew");
    server.key = key;
    assert_eq!(server.balance(), balance);
    assert_eq!(server.get("/f/local/hello/").status, 200);
    server.chat(&json!({})).good();
    server.ledger_is_sound();
    // Without a server the folder is copied too.
    let folder = server.stop();
    let cold = home.join("cold");
    let arguments = ["backup", cold.to_str().unwrap(), "--data", target];
    good(&emberbox(&home, NOBODY, &arguments));
    assert!(cold.join("manifest.json").is_file());
    drop(folder);
}

/// A link into the data folder, and a way around a name, lead into it as its own name does.
#[cfg(unix)]
#[test]
fn no_way_into_the_data_folder_takes_a_backup() {
    let server = Server::start();
    let home = server.folder.path();
    std::os::unix::fs::symlink(home.join("data"), home.join("link")).unwrap();
    std::os::unix::fs::symlink(home.join("data/artifacts"), home.join("artifacts")).unwrap();
    std::fs::create_dir(home.join("elsewhere")).unwrap();
    for inside in [
        "data/backup",
        "link/backup",
        "artifacts/backup",
        "elsewhere/../data/backup",
        "link/../data/x",
    ] {
        let body = json!({ "to": home.join(inside) });
        let refused = server.operate("POST", "/admin/v1/backup", &body);
        let error = refused.refused(400, "invalid_request");
        assert!(error["message"].as_str().unwrap().contains("data folder"), "{inside}: {error}");
    }
    let folder: Vec<_> = std::fs::read_dir(home.join("data")).unwrap().collect();
    let strange = |name: &str| name.contains("backup") || name.starts_with('x');
    for entry in folder {
        let name = entry.unwrap().file_name();
        assert!(!strange(&name.to_string_lossy()), "{name:?} was left in the data folder");
    }
    let body = json!({ "to": home.join("elsewhere/backup") });
    server.operate("POST", "/admin/v1/backup", &body).good();
}

/// A ledger's file that lies in the folder is not the ledger where that is in PostgreSQL.
#[test]
fn without_a_server_the_configured_stores_are_copied() {
    let server = Server::start();
    server.chat(&json!({})).good();
    let home = server.stop();
    let home = home.path();
    let config = home.join("server.toml");
    let text = "[ledger]\nstore = 'postgres'\nurl = 'postgres://nobody@127.0.0.1:9/none'\n";
    std::fs::write(&config, text).unwrap();
    let (data, to) = (home.join("data"), home.join("backup"));
    let arguments = |to: &Path| {
        let arguments = ["backup", to.to_str().unwrap(), "--data", data.to_str().unwrap()];
        arguments.map(str::to_owned).to_vec()
    };
    let configured = [arguments(&to), vec!["--config".into(), config.display().to_string()]];
    let configured = configured.concat();
    let configured: Vec<&str> = configured.iter().map(String::as_str).collect();
    let made = good(&emberbox(home, NOBODY, &configured));
    let files: Vec<&str> =
        made["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert!(!files.contains(&"ledger.db") && files.contains(&"catalog.db"), "{files:?}");
    let said = made["not_included"][0].as_str().unwrap();
    assert!(said.contains("PostgreSQL") && said.contains("pg_dump"), "{made}");
    std::fs::write(&config, "[ledger]\nstore = 'paper'\n").unwrap();
    assert_eq!(emberbox(home, NOBODY, &configured).status.code(), Some(64));
    let plain = arguments(&home.join("plain"));
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let made = good(&emberbox(home, NOBODY, &plain));
    assert!(made["files"].to_string().contains("ledger.db"), "{made}");
}

#[test]
fn a_backup_that_was_changed_is_not_restored() {
    let server = Server::start();
    server.chat(&json!({})).good();
    let home = server.folder.path().to_owned();
    let backup = home.join("backup");
    let body = json!({ "to": backup });
    server.operate("POST", "/admin/v1/backup", &body).good();
    server.operate("POST", "/admin/v1/backup", &body).refused(409, "conflict");
    for wrong in ["relative", "/proc/nowhere/at/all", home.join("data/x").to_str().unwrap()] {
        let body = json!({ "to": wrong });
        server.operate("POST", "/admin/v1/backup", &body).refused(400, "invalid_request");
    }
    let (from, target) = (backup.to_str().unwrap(), home.join("restored"));
    let restore =
        || emberbox(&home, NOBODY, &["restore", from, "--data", target.to_str().unwrap()]);
    let manifest = std::fs::read_to_string(backup.join("manifest.json")).unwrap();
    let token = std::fs::read(backup.join("operator.token")).unwrap();
    std::fs::write(backup.join("operator.token"), "op_another").unwrap();
    let refused = restore();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("operator.token"), "{said}");
    std::fs::write(backup.join("operator.token"), token).unwrap();
    for (from, to) in [
        ("\"operator.token\"", "\"../operator.token\""),
        ("\"operator.token\"", "\"/etc/passwd\""),
        ("\"format\": 1", "\"format\": 2"),
    ] {
        let changed = manifest.replace(from, to);
        assert_ne!(changed, manifest);
        std::fs::write(backup.join("manifest.json"), changed).unwrap();
        assert!(!restore().status.success(), "{to}");
    }
    assert!(!target.exists(), "nothing was restored");
    assert!(!home.join("restored.restoring").exists(), "nothing is left behind");
    std::fs::write(backup.join("manifest.json"), manifest).unwrap();
    good(&restore());
}

#[test]
fn an_audit_of_the_file_finds_what_was_tampered_with() {
    let server = Server::start();
    server.chat(&json!({})).good();
    let home = server.folder.path().to_owned();
    let live = home.join("data/ledger.db");
    let audit = |file: &Path| emberbox(&home, NOBODY, &["ledger", "audit", file.to_str().unwrap()]);
    let check = good(&audit(&live));
    assert_eq!((&check["ok"], &check["receipts"]), (&json!(true), &json!(1)), "{check}");
    let backup = home.join("backup");
    server.operate("POST", "/admin/v1/backup", &json!({ "to": backup })).good();
    let copy = backup.join("ledger.db");
    assert_eq!(good(&audit(&copy))["ok"], json!(true));
    // The first top-up is said to have been of 90 credits, and not of 10.
    let mut bytes = std::fs::read(&copy).unwrap();
    let (was, is) = (br#""amount":"10""#, br#""amount":"90""#);
    let at = bytes.windows(was.len()).position(|window| window == was).unwrap();
    bytes[at..at + is.len()].copy_from_slice(is);
    std::fs::write(&copy, bytes).unwrap();
    let tampered = audit(&copy);
    assert_eq!(tampered.status.code(), Some(1));
    let said = String::from_utf8_lossy(&tampered.stdout).into_owned();
    assert!(said.contains("\"ok\":false") && !said.contains("\"breaks\":[]"), "{said}");
    let missing = audit(&home.join("nothing.db"));
    assert_eq!(missing.status.code(), Some(1));
}
