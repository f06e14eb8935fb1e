use std::process::Command;

use super::*;

fn alive(pid: &str) -> bool {
    // A zombie has ended; somebody only has to take note of it.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
#[ignore = "needs PostgreSQL"]
fn postgres_starts_answers_and_is_gone_when_dropped() {
    let server = PostgresServer::start().unwrap();
    let (url, other) = (server.database("same").unwrap(), server.database("same").unwrap());
    assert_ne!(url, other);
    server.query(&url, "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)").unwrap();
    assert_eq!(server.query(&url, "SELECT n, n + 1 FROM t ORDER BY n").unwrap(), "1|2\n2|3");
    assert!(server.query(&other, "SELECT n FROM t").unwrap_err().to_string().contains("\"t\""));
    assert_eq!(server.query(&url, "SHOW fsync").unwrap(), "on");
    assert!(server.database("x\"; DROP DATABASE postgres").is_err());
    // Nobody comes in without the password.
    let refused = server.query(&url.replace(&server.password, "x"), "SELECT 1");
    assert!(refused.is_err(), "{refused:?}");

    let pid = std::fs::read_to_string(server.data_folder().join("postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap();
    assert!(alive(pid));
    let folder = server.folder.path().to_owned();
    drop(server);
    assert!(!alive(pid));
    assert!(!folder.exists());
}

#[test]
#[ignore = "needs PostgreSQL"]
fn postgres_keeps_its_data_when_stopped_and_when_killed() {
    let settings = vec![("work_mem".to_owned(), "3MB".to_owned())];
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let mut server = PostgresServer::start_with(options).unwrap();
    let url = server.database("kept").unwrap();
    assert_eq!(server.query(&url, "SHOW work_mem").unwrap(), "3MB");
    server.query(&url, "CREATE TABLE t (n int)").unwrap();
    for round in 0..3 {
        server.query(&url, &format!("INSERT INTO t VALUES ({round})")).unwrap();
        match round {
            0 => server.stop().unwrap(),
            1 => server.kill().unwrap(),
            _ => {}
        }
        assert_eq!(server.query(&url, "SELECT 1").is_ok(), round == 2);
        server.restart().unwrap();
    }
    assert_eq!(server.query(&url, "SELECT count(*) FROM t").unwrap(), "3");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn postgres_speaks_tls() {
    let options = PostgresOptions { tls: true, ..PostgresOptions::default() };
    let server = PostgresServer::start_with(options).unwrap();
    let file = crate::authority_file();
    let url = server.url().replace("127.0.0.1", "localhost");
    let url = format!("{url}?sslmode=verify-full&sslrootcert={}", file.display());
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(server.query(&url, encrypted).unwrap(), "t");
    let other = server.query(&url.replace("localhost", "127.0.0.1"), encrypted).unwrap_err();
    assert!(other.to_string().contains("does not match host name"), "{other}");
}

#[test]
#[ignore = "needs PostgreSQL"]
fn postgres_that_cannot_start_says_why() {
    let settings = vec![("shared_buffers".to_owned(), "plenty".to_owned())];
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let error = format!("{:#}", PostgresServer::start_with(options).unwrap_err());
    assert!(error.contains("shared_buffers"), "{error}");
}

/// The other process of the test below: it says which server it started, and waits to be killed, or for the
/// end of its input where a person runs it.
#[test]
#[ignore = "run by postgres_ends_with_a_process_that_is_killed"]
fn child_that_is_killed() {
    let server = shared().unwrap();
    println!("\nfolder {}", server.folder.path().display());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
#[ignore = "needs PostgreSQL"]
fn postgres_ends_with_a_process_that_is_killed() {
    use std::io::{BufRead, BufReader};

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "server::tests::child_that_is_killed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let folder = lines.find_map(|line| line.strip_prefix("folder ").map(PathBuf::from)).unwrap();
    let pid = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap();
    assert!(alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    while alive(pid) || folder.exists() {
        std::thread::yield_now();
    }
}
