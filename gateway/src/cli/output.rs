//! What a command prints: JSON for programs, or plain aligned text, coloured on a terminal only.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use super::error::CliError;

/// How often a spinner moves.
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// Marks parts of a text with colours, or leaves it alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours when `on`.
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    /// What stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        self.mark("1", text)
    }

    /// What may be skipped.
    pub(crate) fn dim(self, text: &str) -> String {
        self.mark("2", text)
    }

    /// What went wrong.
    pub(crate) fn red(self, text: &str) -> String {
        self.mark("31", text)
    }

    /// What went well.
    pub(crate) fn green(self, text: &str) -> String {
        self.mark("32", text)
    }

    /// What to type.
    pub(crate) fn cyan(self, text: &str) -> String {
        self.mark("36", text)
    }

    fn mark(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Standard output and standard error of one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    colour: bool,
}

impl Output {
    /// JSON when `json`; colours on terminals unless `no_color`.
    pub(super) fn new(json: bool, no_color: bool) -> Self {
        Self { json, colour: !no_color }
    }

    /// Whether standard output is for a program.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// How to mark what goes to standard output.
    pub(crate) fn paint(self) -> Paint {
        Paint::new(self.colour && !self.json && std::io::stdout().is_terminal())
    }

    /// How to mark what goes to standard error.
    pub(super) fn paint_error(self) -> Paint {
        Paint::new(self.colour && std::io::stderr().is_terminal())
    }

    /// Prints an answer: the document for programs, or what `human` makes of it.
    pub(crate) fn answer(
        self,
        document: &Value,
        human: impl FnOnce(Paint) -> String,
    ) -> Result<(), CliError> {
        let text = if self.json { document.to_string() } else { human(self.paint()) };
        write_out(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
    }

    /// Prints a part of a longer answer as it is, at once.
    pub(crate) fn piece(self, bytes: &[u8]) -> Result<(), CliError> {
        write_out(bytes)
    }

    /// Shows a person that long work goes on; away from a terminal only that it begins.
    pub(crate) fn busy(self, what: &str) -> Busy {
        if !self.moves() {
            self.note(&format!("{what} …"));
            return Busy(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(format!("{what} …"));
        bar.enable_steady_tick(SPINNER_TICK);
        Busy(bar)
    }

    /// Whether somebody watches standard error who can see things move.
    pub(crate) fn moves(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Tells a person how it goes; programs see nothing of it.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            // A person who closed standard error does not want to be told.
            writeln!(std::io::stderr().lock(), "{text}").ok();
        }
    }
}

/// Shows that long work goes on, until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy(ProgressBar);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn write_out(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(CliError::Output)
}

/// Rows under titles, each column as wide as it must be.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// The title of a column and the side its cells stand on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
}

/// A column of texts.
pub(crate) const fn left(title: &'static str) -> Column {
    Column { title, right: false }
}

/// A column of figures.
pub(crate) const fn right(title: &'static str) -> Column {
    Column { title, right: true }
}

impl Table {
    /// A table without rows. Without titles no line is spent on them.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; a cell that is missing is empty.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text, or `empty` when there are no rows.
    pub(crate) fn render(&self, paint: Paint, empty: &str) -> String {
        if self.rows.is_empty() {
            return empty.to_owned();
        }
        let titles: Vec<String> = self.columns.iter().map(|c| c.title.to_owned()).collect();
        let widths: Vec<usize> =
            titles.iter().enumerate().map(|(index, title)| self.width(index, title)).collect();
        let mut lines = Vec::new();
        if titles.iter().any(|title| !title.is_empty()) {
            lines.push(paint.dim(&self.line(&titles, &widths)));
        }
        lines.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        lines.join("\n")
    }

    fn width(&self, index: usize, title: &str) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(index)).map(String::as_str);
        cells.chain([title]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (index, (column, &width)) in self.columns.iter().zip(widths).enumerate() {
            let cell = cells.get(index).map_or("", String::as_str);
            let gap = if index == 0 { "" } else { "  " };
            line.push_str(gap);
            if column.right {
                line.push_str(&format!("{cell:>width$}"));
            } else {
                line.push_str(&format!("{cell:<width$}"));
            }
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(&[left("NAME"), right("COST"), left("NOTE")]);
        table.row(vec!["hello".to_owned(), "0.1".to_owned(), "é".to_owned()]);
        table.row(vec!["f".to_owned(), "10.25".to_owned()]);
        let expected = "NAME    COST  NOTE\nhello    0.1  é\nf      10.25";
        assert_eq!(table.render(Paint::new(false), ""), expected);
    }

    #[test]
    fn no_rows_say_so() {
        let table = Table::new(&[left("NAME")]);
        assert_eq!(table.render(Paint::new(false), "none yet"), "none yet");
    }

    #[test]
    fn colours_are_off_unless_asked_for() {
        assert_eq!(Paint::new(false).red("x"), "x");
        assert_eq!(Paint::new(true).red("x"), "\x1b[31mx\x1b[0m");
    }
}
