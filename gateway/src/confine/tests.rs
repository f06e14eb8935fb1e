use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use super::*;

/// Confined, so in a process of its own: the second argument of this test's own program is the
/// folder that it may read.
#[test]
#[ignore = "is run by the test below, in a process of its own"]
fn inside() {
    let Some(folder) = std::env::args().find(|argument| argument.starts_with("/readable/")) else {
        return;
    };
    let folder = Path::new(folder.trim_start_matches("/readable"));
    let mut open = File::open("/etc/passwd").unwrap();
    files(&[folder]).unwrap();
    calls(Calls::Serve).unwrap();

    assert_eq!(fs::read(folder.join("in")).unwrap(), b"inside");
    let mut first = [0];
    open.read_exact(&mut first).unwrap();
    let mut pair = UnixStream::pair().unwrap();
    pair.0.write_all(b"x").unwrap();
    std::thread::spawn(move || pair.1.read_exact(&mut first).unwrap()).join().unwrap();

    let outside = folder.with_file_name("out");
    let forbidden = [
        ("read a file", fs::read(&outside).is_err()),
        ("read the passwords", fs::read("/etc/passwd").is_err()),
        ("read the environment", fs::read("/proc/self/environ").is_err()),
        ("list the root", fs::read_dir("/").is_err()),
        ("write", fs::write(folder.join("new"), b"x").is_err()),
        ("remove", fs::remove_file(folder.join("in")).is_err()),
        ("connect", TcpStream::connect("127.0.0.1:9").is_err()),
        ("listen", TcpListener::bind("127.0.0.1:0").is_err()),
        ("send", UdpSocket::bind("127.0.0.1:0").is_err()),
        ("listen at a path", UnixListener::bind(folder.join("socket")).is_err()),
        ("start a program", Command::new("/bin/true").status().is_err()),
        (
            "end its parent",
            rustix::process::getppid().is_some_and(|parent| {
                rustix::process::kill_process(parent, rustix::process::Signal::URG).is_err()
            }),
        ),
    ];
    for (what, is_forbidden) in forbidden {
        assert!(is_forbidden, "it can {what}");
    }
    println!("confined");
}

#[test]
fn a_confined_process_reads_what_it_may_and_reaches_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let readable = folder.path().canonicalize().unwrap().join("readable");
    fs::create_dir(&readable).unwrap();
    fs::write(readable.join("in"), b"inside").unwrap();
    fs::write(folder.path().join("out"), b"outside").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["confine::tests::inside", "--exact", "--include-ignored", "--nocapture"])
        .args(["--skip", &format!("/readable{}", readable.display())])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("confined"), "{said}{output:?}");
}
