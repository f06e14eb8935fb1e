//! `emberbox new`: a folder with a function that builds.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::context::{Context, own_function};
use super::error::CliError;
use crate::template::write_project;

/// Make a folder with a new function that builds
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The function's name
    #[arg(value_parser = own_function)]
    name: String,
    /// Where to make it; a new folder of that name here if left out
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let name = &arguments.name;
    let folder = arguments.folder.clone().unwrap_or_else(|| PathBuf::from(name));
    write_project(&folder, name)
        .map_err(|error| CliError::Failed { what: error.to_string(), next: String::new() })?;
    let answer = json!({"function": name, "folder": folder.display().to_string()});
    context.out.answer(&answer, |paint| {
        let folder = folder.display().to_string();
        let deploy = format!("cd {folder} && emberbox deploy");
        format!(
            "{} is a function that builds; put it online:\n\n  {}",
            paint.bold(&folder),
            paint.cyan(&deploy)
        )
    })
}
