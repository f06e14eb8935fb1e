//! What functions print: the last lines of each, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use emberbox_runtime::{LogSink, Stream};
use serde::Serialize;

/// Functions whose lines are kept; beyond it, those without a call in progress are forgotten.
const FUNCTIONS_MAX: usize = 1_024;

/// The logs of all functions. They are never written to disk: they may hold what callers sent.
pub(crate) struct Logs {
    lines_max: usize,
    rings: Mutex<HashMap<(String, String), Arc<Ring>>>,
}

#[derive(Default)]
struct Ring {
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    last_seq: u64,
    kept: VecDeque<Line>,
}

/// One line, as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    /// 1, 2, 3… within its function since the server started.
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) request_id: String,
    /// `stdout`, `stderr`, or `platform` for what the platform has to say.
    pub(crate) stream: &'static str,
    pub(crate) line: String,
}

impl Logs {
    pub(crate) fn new(lines_max: usize) -> Self {
        Logs { lines_max, rings: Mutex::default() }
    }

    /// Where one call's lines go.
    pub(crate) fn of_call(&self, org_id: &str, function: &str, request_id: &Arc<str>) -> CallLog {
        let ring = self.ring(org_id, function);
        CallLog { ring, lines_max: self.lines_max, request_id: Arc::clone(request_id) }
    }

    /// Lines after a sequence number, of one request or of all, oldest first; and the number to ask
    /// for next.
    pub(crate) fn after(
        &self,
        (org_id, function): (&str, &str),
        (seq, request_id): (u64, Option<&str>),
        limit: usize,
    ) -> (Vec<Line>, u64) {
        let ring = self.ring(org_id, function);
        let lines = ring.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            |line: &&Line| line.seq > seq && request_id.is_none_or(|id| id == line.request_id);
        let found: Vec<Line> = lines.kept.iter().filter(wanted).take(limit).cloned().collect();
        let next = found.last().map_or(seq.min(lines.last_seq), |line| line.seq);
        (found, next)
    }

    /// Forgets a function that was deleted.
    pub(crate) fn forget(&self, org_id: &str, function: &str) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.remove(&(org_id.to_owned(), function.to_owned()));
    }

    fn ring(&self, org_id: &str, function: &str) -> Arc<Ring> {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if rings.len() >= FUNCTIONS_MAX {
            rings.retain(|_, ring| Arc::strong_count(ring) > 1);
        }
        Arc::clone(rings.entry((org_id.to_owned(), function.to_owned())).or_default())
    }
}

/// The lines of one call.
pub(crate) struct CallLog {
    ring: Arc<Ring>,
    lines_max: usize,
    request_id: Arc<str>,
}

impl CallLog {
    /// What the platform has to say to the function's author.
    pub(crate) fn platform(&self, line: &str) {
        self.write("platform", line);
    }

    fn write(&self, stream: &'static str, line: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let mut lines = self.ring.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.last_seq += 1;
        let (seq, request_id) = (lines.last_seq, self.request_id.to_string());
        lines.kept.push_back(Line { seq, at_ms, request_id, stream, line: line.to_owned() });
        while lines.kept.len() > self.lines_max {
            lines.kept.pop_front();
        }
    }
}

impl LogSink for CallLog {
    fn line(&self, stream: Stream, line: &str) {
        match stream {
            Stream::Stdout => self.write("stdout", line),
            Stream::Stderr => self.write("stderr", line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_follows_by_sequence_number_and_old_lines_go() {
        let logs = Logs::new(3);
        let call = logs.of_call("org", "f", &"r1".into());
        assert_eq!(logs.after(("org", "f"), (0, None), 10).1, 0);
        call.line(Stream::Stdout, "one");
        call.line(Stream::Stderr, "two");
        let (lines, next) = logs.after(("org", "f"), (0, None), 10);
        assert_eq!((lines[0].line.as_str(), lines[1].stream, next), ("one", "stderr", 2));
        assert_eq!(logs.after(("org", "f"), (next, None), 10).0.len(), 0);
        logs.of_call("org", "f", &"r2".into()).line(Stream::Stdout, "of another");
        let of = |id| logs.after(("org", "f"), (0, Some(id)), 10).0;
        assert_eq!((of("r1").len(), of("r2").len(), of("r3").len()), (2, 1, 0));
        for line in ["three", "four", "five"] {
            call.line(Stream::Stdout, line);
        }
        let (lines, next) = logs.after(("org", "f"), (0, None), 2);
        assert_eq!((lines[0].line.as_str(), lines.len(), next), ("three", 2, 5));
        assert_eq!(logs.after(("org", "other"), (0, None), 10).0.len(), 0);
        // A reader from before a restart starts over.
        assert_eq!(logs.after(("org", "f"), (99, None), 10).1, 6);
    }
}
