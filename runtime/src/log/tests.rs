use super::*;

#[derive(Default)]
struct Sink(Mutex<Vec<String>>);

impl LogSink for Sink {
    fn line(&self, _stream: Stream, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

fn check(bytes_max: u64, writes: &[&[u8]], expect: &[&str]) {
    let sink = Arc::new(Sink::default());
    let budget = LogBudget::new(bytes_max);
    let mut stream = LogStream::new(Stream::Stdout, Arc::clone(&sink) as Arc<dyn LogSink>, budget);
    for bytes in writes {
        OutputStream::write(&mut stream, Bytes::copy_from_slice(bytes)).unwrap();
    }
    drop(stream);
    assert_eq!(*sink.0.lock().unwrap(), expect, "{writes:?}");
}

#[test]
fn output_becomes_lines() {
    check(100, &[b"one\ntwo\n"], &["one", "two"]);
    check(100, &[b"on", b"e\n\ntw", b"o"], &["one", "", "two"]);
    check(100, &[b"\xff\n"], &["\u{fffd}"]);
    check(100, &[b""], &[]);
}

#[test]
fn lines_and_logs_are_bounded() {
    let long = vec![b'x'; LINE_BYTES_MAX + 1];
    check(100_000, &[&long, b"\n"], &[&"x".repeat(LINE_BYTES_MAX), "x"]);
    let note = "[the log limit of 8 bytes is reached; the rest is dropped]";
    check(8, &[b"123\n123\n1\n\n"], &["123", "123", note]);
    check(8, &[b"123\n1234\n1\n"], &["123", note]);
}
