//! One table of a manifest, read field by field, each mistake noted and reading gone on with.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use emberbox_billing::Nano;
use toml::{Table, Value};

use super::Mistake;

/// A table, the dotted name before its fields, and where its mistakes go.
pub(super) struct Section<'m> {
    prefix: String,
    table: Table,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'m> Section<'m> {
    /// The whole document.
    pub(super) fn root(table: Table, mistakes: &'m mut Vec<Mistake>) -> Self {
        Self { prefix: String::new(), table, mistakes }
    }

    /// Notes a mistake in `field`, or in the table itself when `field` is empty.
    pub(super) fn refuse(&mut self, field: &str, reason: String) {
        let field = if field.is_empty() {
            self.prefix.trim_end_matches('.').to_owned()
        } else {
            format!("{}{field}", self.prefix)
        };
        self.mistakes.push(Mistake { field, reason });
    }

    /// The table under `name`.
    pub(super) fn table(&mut self, name: &str, required: bool) -> Option<Section<'_>> {
        let table = match self.table.get(name) {
            Some(Value::Table(table)) => table.clone(),
            Some(other) => {
                let reason = format!("a table [{name}] is expected, not {}", other.type_str());
                self.refuse(name, reason);
                return None;
            }
            None => {
                if required {
                    self.refuse(name, format!("the table [{name}] is missing"));
                }
                return None;
            }
        };
        let prefix = format!("{}{name}.", self.prefix);
        Some(Section { prefix, table, mistakes: &mut *self.mistakes })
    }

    /// The names in this table.
    pub(super) fn names(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// A string.
    pub(super) fn text(&mut self, name: &str, required: bool) -> Option<String> {
        match self.table.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => {
                let reason = format!("a quoted text is expected, not {}", with_article(other));
                self.refuse(name, reason);
                None
            }
            None => {
                if required {
                    self.refuse(name, "it is missing".to_owned());
                }
                None
            }
        }
    }

    /// A list of strings; `None` when it is absent.
    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let expected = "a list of quoted texts is expected";
        let reason = match self.table.get(name)? {
            Value::Array(items) => {
                let texts: Option<Vec<String>> =
                    items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                if texts.is_some() {
                    return texts;
                }
                expected.to_owned()
            }
            other => format!("{expected}, not {}", with_article(other)),
        };
        self.refuse(name, reason);
        None
    }

    /// True or false; `None` when it is absent.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        let reason = match self.table.get(name)? {
            Value::Boolean(flag) => return Some(*flag),
            other => format!("true or false is expected, not {}", with_article(other)),
        };
        self.refuse(name, reason);
        None
    }

    /// One of a few words.
    pub(super) fn parsed<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(name, false)?;
        text.parse().map_err(|error| self.refuse(name, format!("\"{text}\": {error}"))).ok()
    }

    /// An amount of credits: a decimal in quotes, since a TOML float would lose digits of money.
    pub(super) fn credits(&mut self, name: &str, required: bool) -> Option<Nano> {
        let reason = match self.table.get(name) {
            Some(Value::String(text)) => match text.parse::<Nano>() {
                Ok(amount) => return Some(amount),
                Err(error) => format!("\"{text}\" is not an amount of credits: {error}"),
            },
            Some(other) => format!(
                "credits are written as a decimal in quotes, such as \"0.01\", not as {}",
                with_article(other)
            ),
            None if required => {
                "it is missing; it is the most one call may cost, in credits, such as \"0.01\""
                    .to_owned()
            }
            None => return None,
        };
        self.refuse(name, reason);
        None
    }

    /// A whole number within `allowed`; `None` when it is absent.
    pub(super) fn integer<N>(&mut self, name: &str, allowed: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + Display,
    {
        let (low, high) = (allowed.start(), allowed.end());
        let reason = match self.table.get(name)? {
            Value::Integer(number) => match N::try_from(*number) {
                Ok(number) if allowed.contains(&number) => return Some(number),
                _ => format!("{number} is out of range; {low} to {high} is allowed"),
            },
            other => format!(
                "a whole number from {low} to {high} is expected, not {}",
                with_article(other)
            ),
        };
        self.refuse(name, reason);
        None
    }

    /// Passes `value` on if `check` accepts it, and notes its reason if not.
    pub(super) fn keep_if<T>(
        &mut self,
        name: &str,
        value: Option<T>,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> Option<T> {
        let value = value?;
        match check(&value) {
            Ok(()) => Some(value),
            Err(reason) => {
                self.refuse(name, reason);
                None
            }
        }
    }

    /// Names every field that nobody reads: a mistyped limit must not be silently absent.
    pub(super) fn refuse_unknown(&mut self, known: &[&str]) {
        let unknown: Vec<String> =
            self.names().into_iter().filter(|name| !known.contains(&name.as_str())).collect();
        for name in unknown {
            self.refuse(&name, format!("no such field; known are {}", known.join(", ")));
        }
    }
}

fn with_article(value: &Value) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}
