//! `emberbox deploy`: builds a function's folder and uploads it as a new version.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;

use super::build;
use super::context::Context;
use super::error::CliError;
use super::format::{cell, short, size};
use super::output::Paint;
use crate::client::{Call, Client, ClientError};
use crate::manifest::{FILE_NAME, Manifest};

/// The header that carries the manifest beside the component's bytes.
const MANIFEST_HEADER: HeaderName = HeaderName::from_static("x-emberbox-manifest");

/// Build the function in a folder and deploy it as a new version
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The function's folder, with its emberbox.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Upload this component instead of building one
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Upload what the last build left
    #[arg(long)]
    no_build: bool,
    /// Keep calls on the version that is live; `emberbox rollback` can switch to the new one
    #[arg(long)]
    no_activate: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let text = read_manifest(&arguments.folder)?;
    let manifest = Manifest::parse(&text)?;
    let path = match &arguments.component {
        Some(path) => path.clone(),
        None if arguments.no_build => build::component_path(&arguments.folder, &manifest)?,
        None => build::build(&arguments.folder, &manifest, context)?,
    };
    let component = std::fs::read(&path).map_err(|error| CliError::Failed {
        what: format!("there is no component at {}: {error}", path.display()),
        next: "build it with `emberbox build`, or name it with --component FILE".to_owned(),
    })?;
    let upload = Upload { name: &manifest.name, manifest: &text, activate: !arguments.no_activate };
    let busy = context.out.busy(&format!("uploading {}", size(component.len() as u64)));
    let deployed = upload.send(&client, component)?;
    drop(busy);
    context.out.answer(&deployed, |paint| shown(&deployed, client.base(), paint))
}

/// The text of the manifest in a function's folder.
pub(super) fn read_manifest(folder: &Path) -> Result<String, CliError> {
    let path = folder.join(FILE_NAME);
    std::fs::read_to_string(&path).map_err(|error| CliError::Configuration {
        what: format!("{}: {error}", path.display()),
        next: "go into a function's folder, or make one with `emberbox new NAME`".to_owned(),
    })
}

/// A version to be made.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    /// The function's name, as the manifest has it.
    pub(crate) name: &'a str,
    /// The manifest's text.
    pub(crate) manifest: &'a str,
    /// Whether calls go to the new version at once.
    pub(crate) activate: bool,
}

impl Upload<'_> {
    /// Sends the component and gives back what the server made of it.
    pub(crate) fn send(&self, client: &Client, component: Vec<u8>) -> Result<Value, ClientError> {
        let query = if self.activate { "" } else { "?activate=false" };
        let path = format!("/v1/functions/{}/versions{query}", self.name);
        let manifest = HeaderValue::from_str(&STANDARD.encode(self.manifest));
        let manifest = manifest.map_err(|source| ClientError::BadSecret { source })?;
        let call = Call::new(Method::POST, &path)
            .body(HeaderValue::from_static("application/wasm"), component)
            .header(MANIFEST_HEADER, manifest);
        client.json(call)
    }
}

fn shown(deployed: &Value, base: &str, paint: Paint) -> String {
    let function = format!("{}/{}", cell(deployed, "/owner"), cell(deployed, "/function"));
    let url = match deployed.pointer("/url").and_then(Value::as_str) {
        Some(path) if path.starts_with('/') => format!("{base}{path}"),
        Some(url) => url.to_owned(),
        None => format!("{base}/f/{function}/"),
    };
    let live = if deployed.pointer("/live").is_some_and(|live| *live == Value::Bool(false)) {
        "not live"
    } else {
        "live"
    };
    let curl = format!("curl {url} -H \"Authorization: Bearer $EMBERBOX_API_KEY\"");
    let warnings: Vec<String> = deployed
        .get("warnings")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|warning| format!("\n{} {}", paint.red("warning:"), cell(warning, "")))
        .collect();
    format!(
        "{} version {} is {live} ({})\n\n  url  {}\n  try  {}{}",
        paint.bold(&function),
        paint.bold(&cell(deployed, "/version")),
        short(&cell(deployed, "/digest")),
        url,
        paint.cyan(&curl),
        warnings.concat()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_address_is_whole_whatever_the_server_gives() {
        for (url, expected) in [
            (json!("/f/acme/hello"), "url  http://h:1/f/acme/hello\n"),
            (json!("https://x.org/f/acme/hello"), "url  https://x.org/f/acme/hello\n"),
            (json!(null), "url  http://h:1/f/acme/hello/\n"),
        ] {
            let deployed = json!({"function": "hello", "owner": "acme", "version": 2,
                "digest": "0123456789abcdef", "url": url, "live": true});
            let text = shown(&deployed, "http://h:1", Paint::new(false));
            assert!(text.starts_with("acme/hello version 2 is live (0123456789ab)\n"), "{text}");
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_folder_without_a_manifest_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_manifest(folder.path()).unwrap_err();
        assert_eq!(error.exit_code(), 64);
        assert!(error.next().unwrap().contains("emberbox new"));
    }
}
