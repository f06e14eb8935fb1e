//! `emberbox build`: a function's folder becomes a component.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::deploy::read_manifest;
use super::error::CliError;
use super::format::size;
use crate::manifest::Manifest;
use crate::template::build::build_function;

/// Build the function in a folder
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The function's folder, with its emberbox.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let manifest = Manifest::parse(&read_manifest(&arguments.folder)?)?;
    let path = build(&arguments.folder, &manifest, context)?;
    let bytes = std::fs::metadata(&path).map(|found| found.len());
    let bytes = bytes.map_err(|source| CliError::File { path: path.clone(), source })?;
    let answer = json!({"component": path.display().to_string(), "size_bytes": bytes});
    context.out.answer(&answer, |paint| {
        format!("{} ({})", paint.bold(&path.display().to_string()), size(bytes))
    })
}

/// Builds the function in `folder` and says where its component lies.
pub(super) fn build(
    folder: &Path,
    manifest: &Manifest,
    context: &Context,
) -> Result<PathBuf, CliError> {
    context.out.note(&format!("building {} …", manifest.name));
    build_function(folder, manifest)
        .map_err(|error| CliError::Failed { what: error.to_string(), next: String::new() })
}

/// Where the last build left the component: as the manifest says, or where Cargo puts it.
pub(super) fn component_path(folder: &Path, manifest: &Manifest) -> Result<PathBuf, CliError> {
    if let Some(path) = &manifest.component {
        return Ok(folder.join(path));
    }
    let path = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&path)
        .map_err(|source| CliError::File { path: path.clone(), source })?;
    let package = text.parse::<toml::Table>().ok().and_then(|cargo| {
        cargo.get("package")?.get("name")?.as_str().map(|name| name.replace('-', "_"))
    });
    let package = package.ok_or_else(|| CliError::Configuration {
        what: format!("{} names no package", path.display()),
        next: "name the component in emberbox.toml: component = \"FILE\"".to_owned(),
    })?;
    Ok(folder.join(format!("target/wasm32-wasip2/release/{package}.wasm")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(rest: &str) -> Manifest {
        let text = format!("[function]\nname = \"f\"\nmax_cost_per_call = \"1\"\n{rest}");
        Manifest::parse(&text).unwrap()
    }

    #[test]
    fn the_component_is_where_the_manifest_or_cargo_says() {
        let folder = tempfile::tempdir().unwrap();
        let named = component_path(folder.path(), &manifest("component = \"a/b.wasm\"")).unwrap();
        assert_eq!(named, folder.path().join("a/b.wasm"));
        let cargo = folder.path().join("Cargo.toml");
        assert_eq!(component_path(folder.path(), &manifest("")).unwrap_err().exit_code(), 1);
        std::fs::write(&cargo, "[package]\nname = \"two-words\"").unwrap();
        let usual = component_path(folder.path(), &manifest("")).unwrap();
        assert_eq!(usual, folder.path().join("target/wasm32-wasip2/release/two_words.wasm"));
        std::fs::write(&cargo, "[workspace]").unwrap();
        assert_eq!(component_path(folder.path(), &manifest("")).unwrap_err().exit_code(), 64);
    }
}
