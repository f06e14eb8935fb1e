//! One row of a result, and how rows are printed.

use serde::Serialize;

/// Ours beside one peer in one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The benchmark's name.
    pub(crate) bench: &'static str,
    /// The case within it.
    pub(crate) case: String,
    /// Our figure, in `unit`.
    pub(crate) ours: f64,
    /// Who it is compared with.
    pub(crate) peer_name: &'static str,
    /// Their figure, in `unit`.
    pub(crate) peer: f64,
    /// Above 1 means that ours is better.
    pub(crate) ratio: f64,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// What else was seen: latencies, the disk, how it was measured.
    pub(crate) note: String,
}

impl Row {
    /// A row of which more is better.
    pub(crate) fn more_is_better(
        bench: &'static str,
        case: String,
        ours: f64,
        peer: (&'static str, f64),
    ) -> Self {
        let (peer_name, peer) = peer;
        let ratio = ratio(ours, peer);
        let (ours, peer) = (round(ours, 1), round(peer, 1));
        Self { bench, case, ours, peer_name, peer, ratio, unit: "", note: String::new() }
    }
}

/// A row of any benchmark: a JSON object, or columns for people.
pub(crate) trait Line: Serialize {
    /// The row in one line of text.
    fn columns(&self) -> String;
}

impl Line for Row {
    fn columns(&self) -> String {
        format!(
            "{:<20} {:>10.1} {:>10.1} {} ({})  ratio {:.3}  {}",
            self.case, self.ours, self.peer, self.unit, self.peer_name, self.ratio, self.note
        )
    }
}

/// Where rows go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    /// One JSON object a line.
    Json,
    /// Columns for people.
    Table,
}

impl Format {
    /// Prints a row as soon as it is known.
    #[expect(clippy::print_stdout, reason = "the rows are this program's output")]
    pub(crate) fn print(self, row: &impl Line) -> anyhow::Result<()> {
        match self {
            Self::Json => println!("{}", serde_json::to_string(row)?),
            Self::Table => println!("{}", row.columns()),
        }
        Ok(())
    }

    /// JSON where it was asked for.
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Table }
    }
}

/// Ours beside theirs; nothing beside a peer that did nothing.
pub(crate) fn ratio(ours: f64, peer: f64) -> f64 {
    if peer > 0.0 { round(ours / peer, 3) } else { 0.0 }
}

/// So many digits after the point.
pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_agreed_fields() {
        let row = Row::more_is_better("b", "c1".to_owned(), 30.04, ("p", 20.0));
        let row = Row { unit: "requests/s", note: "n".to_owned(), ..row };
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            r#"{"bench":"b","case":"c1","ours":30.0,"peer_name":"p","peer":20.0,"ratio":1.502,"unit":"requests/s","note":"n"}"#
        );
    }

    #[test]
    fn a_peer_that_did_nothing_gives_no_ratio() {
        let row = Row::more_is_better("b", "c1".to_owned(), 30.0, ("p", 0.0));
        assert!(row.ratio.abs() < f64::EPSILON);
    }
}
