//! candle, in a process of its own: `peers.sh candle` builds the program.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::llama_cpp::Measure;
use super::{Case, Options};

/// Its name in rows.
pub(crate) const NAME: &str = "candle";

/// Where its program is.
#[derive(Debug, Clone)]
pub(crate) struct Candle(PathBuf);

impl Candle {
    /// `None` where it is not installed.
    pub(crate) fn find(options: &Options) -> Option<Self> {
        let program = options.peers().join("bin/candle-peer");
        program.is_file().then_some(Self(program))
    }

    /// Tokens per second; `None` for what it does not do: several streams, or more tokens than its
    /// implementation has positions for.
    pub(crate) async fn measure(
        &self,
        case: &Case,
        measure: Measure,
    ) -> anyhow::Result<Option<f64>> {
        let (what, tokens) = match measure {
            Measure::Prefill(tokens) => ("prefill", tokens),
            Measure::Decode { tokens, depth: 0 } => ("decode", tokens),
            Measure::Decode { .. } | Measure::Batch { .. } => return Ok(None),
        };
        let mut command = Command::new(&self.0);
        command.arg(&case.path).args([what, &tokens.to_string()]);
        command.env("RAYON_NUM_THREADS", case.threads.to_string());
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("candle-peer {what} ended with {}: {}", output.status, said.trim());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.trim().parse().with_context(|| format!("candle-peer said {said:?}"))?;
        Ok(Some(rate))
    }
}
