//! What one watches: titles, the command to type oneself, streamed text, and a line of figures.

use std::io::Write;

use emberbox_billing::Nano;

use super::{Step, sum};
use crate::cli::CliError;
use crate::cli::format::credits;
use crate::cli::output::{Output, Paint};

/// Where streamed text is broken: it fits a terminal of 80 columns behind its indentation.
const TEXT_COLUMNS: usize = 72;
/// Everything below a title stands this far to the right.
const INDENT: &str = "     ";

/// Standard output for a person; standard error when standard output is for a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    out: Output,
}

impl Screen {
    pub(super) fn new(out: Output) -> Self {
        Self { out }
    }

    /// How to mark words.
    pub(super) fn paint(self) -> Paint {
        self.out.paint()
    }

    /// Prints a text as it is, at once.
    pub(super) fn text(self, text: &str) -> Result<(), CliError> {
        if self.out.is_json() {
            let mut errors = std::io::stderr().lock();
            return errors.write_all(text.as_bytes()).map_err(CliError::Output);
        }
        self.out.piece(text.as_bytes())
    }

    pub(super) fn opening(self) -> Result<(), CliError> {
        let paint = self.paint();
        self.text(&format!(
            "{}\n{}\n",
            paint.bold("Emberbox, the whole path once"),
            paint.dim("on this machine, offline, in a temporary folder; credits are play money")
        ))
    }

    /// Begins a scene.
    pub(super) fn title(self, number: usize, of: usize, title: &str) -> Result<(), CliError> {
        let paint = self.paint();
        let number = format!("{number}/{of}");
        self.text(&format!("\n{}  {}\n", paint.dim(&number), paint.bold(title)))
    }

    /// What one would type to do the same.
    pub(super) fn command(self, command: &str) -> Result<(), CliError> {
        let mut lines = command.lines();
        let first = lines.next().unwrap_or_default();
        let mut text = format!("{INDENT}{}\n", self.paint().cyan(&format!("$ {first}")));
        for line in lines {
            text.push_str(&format!("{INDENT}{}\n", self.paint().cyan(&format!("    {line}"))));
        }
        self.text(&text)
    }

    /// A name and what it stands for.
    pub(super) fn fact(self, name: &str, value: &str) -> Result<(), CliError> {
        self.text(&format!("{INDENT}{}  {value}\n", self.paint().dim(&format!("{name:<8}"))))
    }

    /// A block of text, indented.
    pub(super) fn block(self, block: &str) -> Result<(), CliError> {
        let lines: Vec<String> = block.lines().map(|line| format!("{INDENT}{line}\n")).collect();
        self.text(&lines.concat())
    }

    /// Ends a scene: whether it held, what it cost, what is left, how long it took.
    pub(super) fn result(self, step: &Step, balance: Nano) -> Result<(), CliError> {
        let paint = self.paint();
        if let Some(reason) = &step.failure {
            return self.text(&format!("{INDENT}{} {reason}\n", paint.red("✗ failed:")));
        }
        self.text(&format!(
            "{INDENT}{}  cost {}  balance {}  {:>6} ms\n",
            paint.green("✓"),
            credits(step.cost),
            credits(balance),
            step.ms
        ))
    }

    /// Ends the play.
    pub(super) fn closing(self, steps: &[Step]) -> Result<(), CliError> {
        let paint = self.paint();
        let failed = steps.iter().filter(|step| step.failure.is_some()).count();
        let spent = credits(sum(steps.iter().map(|step| step.cost))?);
        let ms: u64 = steps.iter().map(|step| step.ms).sum();
        let verdict = if failed == 0 {
            paint.green(&format!("All {} steps held", steps.len()))
        } else {
            paint.red(&format!("{failed} of {} steps failed", steps.len()))
        };
        self.text(&format!("\n{verdict}: {spent} credits spent, {ms} ms.\n"))
    }

    /// Streamed text, broken between words.
    pub(super) fn stream(self) -> Streamed {
        Streamed { screen: self, wrap: Wrap::default() }
    }
}

/// Text that appears as it arrives.
#[derive(Debug)]
pub(super) struct Streamed {
    screen: Screen,
    wrap: Wrap,
}

impl Streamed {
    /// Shows the next piece, of any length.
    pub(super) fn piece(&mut self, text: &str) -> Result<(), CliError> {
        let wrapped = self.wrap.push(text);
        self.screen.text(&wrapped)
    }

    /// Shows what is left and ends the line.
    pub(super) fn end(mut self) -> Result<(), CliError> {
        let rest = self.wrap.finish();
        self.screen.text(&rest)
    }
}

/// Breaks lines between words while the text is still coming.
#[derive(Debug, Default)]
struct Wrap {
    column: usize,
    word: String,
    begun: bool,
}

impl Wrap {
    fn push(&mut self, text: &str) -> String {
        let mut shown = String::new();
        for character in text.chars() {
            match character {
                '\n' => {
                    self.flush(&mut shown);
                    self.column = 0;
                }
                c if c.is_whitespace() => self.flush(&mut shown),
                // Nothing that moves the cursor: the text comes from a model or a guest.
                c if c.is_control() => {}
                c => self.word.push(c),
            }
        }
        shown
    }

    fn finish(&mut self) -> String {
        let mut shown = String::new();
        self.flush(&mut shown);
        if self.begun {
            shown.push('\n');
        }
        shown
    }

    /// Shows the word that has just ended, on a new line if it does not fit.
    fn flush(&mut self, shown: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let width = self.word.chars().count();
        if self.column > 0 && self.column + 1 + width <= TEXT_COLUMNS {
            shown.push(' ');
            self.column += 1 + width;
        } else {
            shown.push_str(if self.begun { "\n" } else { "" });
            shown.push_str(INDENT);
            shown.push_str("│ ");
            self.column = width;
        }
        self.begun = true;
        shown.push_str(&self.word);
        self.word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(pieces: &[&str]) -> String {
        let mut wrap = Wrap::default();
        let mut shown: String = pieces.iter().map(|piece| wrap.push(piece)).collect();
        shown.push_str(&wrap.finish());
        shown
    }

    #[test]
    fn words_that_come_in_pieces_stay_whole() {
        assert_eq!(wrapped(&["On", "ce up", "on", " a time"]), "     │ Once upon a time\n");
        assert_eq!(wrapped(&["a\n", "b"]), "     │ a\n     │ b\n");
        assert_eq!(wrapped(&[]), "");
        assert_eq!(wrapped(&["\u{1b}[31mred"]), "     │ [31mred\n");
    }

    #[test]
    fn lines_are_broken_between_words() {
        let text = "word ".repeat(40);
        let shown = wrapped(&[&text]);
        assert!(shown.lines().count() > 1);
        for line in shown.lines() {
            assert!(line.chars().count() <= INDENT.len() + 2 + TEXT_COLUMNS, "{line}");
        }
        let words: Vec<&str> = shown.split_whitespace().filter(|word| *word != "│").collect();
        assert_eq!(words.len(), 40);
    }
}
