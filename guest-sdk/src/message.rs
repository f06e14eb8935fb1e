//! What is said to a model: text, chat messages, or tokens.

use crate::{Error, Tensor};
use serde::{Deserialize, Serialize};

/// Who speaks in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that the conversation stands under.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One message of a chat, in the shape that OpenAI's API has made common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// Instructions that the conversation stands under.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    /// Something that the person says.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// Something that the model has said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// What a generation starts from. Strings, messages and tokens convert into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Plain text that the model continues; no chat template is applied.
    Text(String),
    /// A chat; the model's own template turns it into a prompt.
    Messages(Vec<Message>),
    /// Token ids of the model's own vocabulary.
    Tokens(Vec<u32>),
}

impl Prompt {
    /// The input tensor of a `compute`, with its name.
    pub(crate) fn input(&self) -> Result<(&'static str, Tensor), Error> {
        Ok(match self {
            Self::Text(text) => ("prompt", Tensor::text(text)),
            Self::Messages(messages) => {
                ("messages", Tensor::text(&serde_json::to_string(messages)?))
            }
            Self::Tokens(tokens) => {
                let ids: Vec<i64> = tokens.iter().map(|&id| i64::from(id)).collect();
                ("tokens", Tensor::i64(&ids))
            }
        })
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Message> for Prompt {
    fn from(message: Message) -> Self {
        Self::Messages(vec![message])
    }
}

impl From<Vec<Message>> for Prompt {
    fn from(messages: Vec<Message>) -> Self {
        Self::Messages(messages)
    }
}

impl<const N: usize> From<[Message; N]> for Prompt {
    fn from(messages: [Message; N]) -> Self {
        Self::Messages(messages.into())
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Self {
        Self::Tokens(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_prompt_has_its_tensor() {
        let check = |prompt: Prompt, name: &str, dimensions: &[u32], data: &[u8]| {
            let (got, tensor) = prompt.input().unwrap();
            assert_eq!((got, tensor.dimensions(), tensor.data()), (name, dimensions, data));
        };
        check("ab".into(), "prompt", &[2], b"ab");
        check(vec![7, 258].into(), "tokens", &[2], b"\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0");
        let json =
            br#"[{"role":"system","content":"Be \"kind\"."},{"role":"user","content":"Hi"}]"#;
        let messages = [Message::system("Be \"kind\"."), Message::user("Hi")];
        check(messages.into(), "messages", &[u32::try_from(json.len()).unwrap()], json);
    }
}
