//! How a model on a hub is named: `hf:ORG/NAME[@REVISION][:FILE-OR-QUANT]`.

use std::fmt;
use std::str::FromStr;

/// The revision when none is named.
const DEFAULT_REVISION: &str = "main";
/// The longest part of a reference, in bytes.
const PART_BYTES_MAX: usize = 255;

/// A model on a hub. Its parts can stand in addresses and, but for the choice, in paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) org: String,
    pub(crate) name: String,
    /// A branch, a tag or a commit.
    pub(crate) revision: String,
    /// A GGUF file, by its path or by a part of it.
    pub(crate) choice: Option<String>,
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "a model is hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME:QUANT";
        let wrong = || SHAPE.to_owned();
        let rest = text.strip_prefix("hf:").ok_or_else(wrong)?;
        // Neither names nor revisions of git have a colon in them.
        let (rest, choice) = match rest.split_once(':') {
            Some((rest, choice)) => (rest, Some(choice)),
            None => (rest, None),
        };
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, DEFAULT_REVISION));
        let (org, name) = repository.split_once('/').ok_or_else(wrong)?;
        let parts = is_name(org) && is_name(name) && revision.split('/').all(is_name);
        let choice_is_good = choice.is_none_or(|choice| {
            !choice.is_empty()
                && choice.len() <= PART_BYTES_MAX
                && !choice.contains(char::is_control)
        });
        if !parts || revision.len() > PART_BYTES_MAX || !choice_is_good {
            return Err(wrong());
        }
        Ok(Self {
            org: org.to_owned(),
            name: name.to_owned(),
            revision: revision.to_owned(),
            choice: choice.map(str::to_owned),
        })
    }
}

/// Whether a text is a name on a hub, and nothing that leads elsewhere in a path.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=PART_BYTES_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.chars().all(allowed)
}

impl fmt::Display for Reference {
    /// The repository alone, as people name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        for (text, expected) in [
            ("hf:acme/tiny", Some(("acme/tiny", "main", None))),
            ("hf:acme/tiny@v1.0", Some(("acme/tiny", "v1.0", None))),
            ("hf:acme/tiny@refs/pr/3", Some(("acme/tiny", "refs/pr/3", None))),
            ("hf:acme/tiny:Q4_K_M", Some(("acme/tiny", "main", Some("Q4_K_M")))),
            ("hf:acme/tiny@v1:b/x.gguf", Some(("acme/tiny", "v1", Some("b/x.gguf")))),
            ("acme/tiny", None),
            ("hf:tiny", None),
            ("hf:acme/tiny/more", None),
            ("hf:../tiny", None),
            ("hf:acme/..", None),
            ("hf:/tiny", None),
            ("hf:acme/tiny@", None),
            ("hf:acme/tiny@../../x", None),
            ("hf:acme/tiny@a//b", None),
            ("hf:acme/tiny:", None),
            ("hf:acme/ti ny", None),
            ("hf:acme/tiny?x", None),
        ] {
            let parsed: Option<Reference> = text.parse().ok();
            let shown = parsed.as_ref().map(|reference| {
                (reference.to_string(), reference.revision.as_str(), reference.choice.as_deref())
            });
            let expected =
                expected.map(|(name, revision, choice)| (name.to_owned(), revision, choice));
            assert_eq!(shown, expected, "{text}");
        }
    }
}
