//! Answers that are files: exports and printed pages, written as they arrive.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::str::FromStr;

use http::Method;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use crate::client::{Call, Client, ClientError};

/// Bytes that are written at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file, or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    File(PathBuf),
    StandardOutput,
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "-" => Target::StandardOutput,
            path => Target::File(PathBuf::from(path)),
        })
    }
}

/// Gets a document and writes it to its target. A document that breaks off is an error, and what
/// came of it stays in the file.
pub(super) fn save(
    client: &Client,
    path: &str,
    (target, context): (&Target, &Context),
) -> Result<(), CliError> {
    let answer = client.send(Call::new(Method::GET, path))?;
    let broken = |source| ClientError::Broken { url: format!("{}{path}", client.base()), source };
    let mut reader = answer.into_reader();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut next = || -> Result<Option<Vec<u8>>, CliError> {
        let count = reader.read(&mut buffer).map_err(broken)?;
        Ok((count > 0).then(|| buffer.get(..count).unwrap_or_default().to_vec()))
    };
    let Target::File(path) = target else {
        while let Some(bytes) = next()? {
            context.out.piece(&bytes)?;
        }
        return Ok(());
    };
    let failed = |source| CliError::File { path: path.clone(), source };
    let mut file = File::create(path).map_err(failed)?;
    let mut written = 0;
    while let Some(bytes) = next()? {
        file.write_all(&bytes).map_err(failed)?;
        written += bytes.len();
    }
    let answer = json!({ "file": path, "bytes": written });
    context.out.answer(&answer, |_| format!("{written} bytes written to {}", path.display()))
}
