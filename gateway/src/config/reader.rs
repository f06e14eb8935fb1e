use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// A value as text, and where it came from.
struct Found {
    text: String,
    origin: String,
}

/// Takes settings by name from a TOML text and from variables, and collects mistakes.
pub(super) struct Reader {
    file: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
    known: BTreeSet<&'static str>,
    mistakes: Vec<String>,
}

impl Reader {
    pub(super) fn new(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut reader = Reader {
            file: BTreeMap::new(),
            variables: environment.into_iter().collect(),
            known: BTreeSet::new(),
            mistakes: Vec::new(),
        };
        match text.parse::<toml::Table>() {
            Ok(table) => reader.flatten("", table),
            Err(error) => reader.mistakes.push(format!("not TOML: {}", error.message())),
        }
        reader
    }

    /// The user's home folder, which the default data folder lies in.
    pub(super) fn home(&self) -> Option<PathBuf> {
        self.variables.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
    }

    /// Overwrites `into` when the setting is present and right.
    pub(super) fn read<T>(&mut self, name: &'static str, into: &mut T)
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(found) = self.find(name) else { return };
        match found.text.parse() {
            Ok(value) => *into = value,
            Err(error) => {
                self.mistakes.push(format!("{}: '{}': {error}", found.origin, found.text));
            }
        }
    }

    /// The same for a setting that may be absent; an empty text makes it so.
    pub(super) fn read_some(&mut self, name: &'static str, into: &mut Option<String>) {
        if let Some(found) = self.find(name) {
            *into = Some(found.text).filter(|text| !text.is_empty());
        }
    }

    /// A text that may be a secret: no mistake repeats it. Where it is missing it is empty, which
    /// is a mistake where a reason is given.
    pub(super) fn needed(&mut self, name: &'static str, reason: Option<&str>) -> String {
        let text = self.find(name).map(|found| found.text).unwrap_or_default();
        if let Some(reason) = reason.filter(|_| text.is_empty()) {
            self.expect(false, name, &format!("is missing: {reason}"));
        }
        text
    }

    /// Notes what went wrong when a setting was tried.
    pub(super) fn expect_ok(&mut self, name: &'static str, tried: Result<(), String>) {
        if let Err(reason) = tried {
            self.expect(false, name, &reason);
        }
    }

    /// Notes a mistake in a setting unless the condition holds.
    pub(super) fn expect(&mut self, holds: bool, name: &'static str, reason: &str) {
        if holds {
            return;
        }
        let origin = self.find(name).map_or_else(|| name.to_owned(), |found| found.origin);
        self.mistakes.push(format!("{origin}: {reason}"));
    }

    pub(super) fn at_least_one(&mut self, name: &'static str, value: u64) {
        self.expect(value > 0, name, "must be at least 1");
    }

    /// All mistakes, names that no setting has among them.
    pub(super) fn finish(mut self) -> Result<(), Vec<String>> {
        for name in self.file.keys() {
            if !self.known.contains(name.as_str()) {
                self.mistakes.push(format!("{name}: there is no such setting"));
            }
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(self.mistakes) }
    }

    /// A variable wins over the file.
    fn find(&mut self, name: &'static str) -> Option<Found> {
        self.known.insert(name);
        let variable = format!("EMBERBOX_{}", name.replace('.', "_").to_uppercase());
        if let Some(text) = self.variables.get(&variable) {
            return Some(Found { text: text.clone(), origin: variable });
        }
        let text = self.file.get(name)?.clone();
        Some(Found { text, origin: name.to_owned() })
    }

    fn flatten(&mut self, prefix: &str, table: toml::Table) {
        for (key, value) in table {
            let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            match value {
                toml::Value::Table(inner) => self.flatten(&name, inner),
                toml::Value::String(text) => {
                    self.file.insert(name, text);
                }
                other => {
                    self.file.insert(name, other.to_string());
                }
            }
        }
    }
}
