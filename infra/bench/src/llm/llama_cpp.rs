//! llama.cpp's own benchmarks, each run in a process of its own.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::process::Command;

use super::{Case, Options};

/// Its name in rows.
pub(crate) const NAME: &str = "llama.cpp";
/// What it is tried with, each in the first round; the fastest is kept. With flash attention it is
/// faster in some cases and slower in others.
pub(crate) const SETTINGS: [&str; 2] = ["--flash-attn on", "--flash-attn off"];

/// Where its programs are.
#[derive(Debug, Clone)]
pub(crate) struct LlamaCpp {
    folder: PathBuf,
}

/// What it is to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measure {
    /// Prompts of so many tokens.
    Prefill(u32),
    /// One stream of so many tokens, after `depth` others.
    Decode { tokens: u32, depth: u32 },
    /// Several streams of so many tokens, after prompts of so many.
    Batch { streams: u32, prompt: u32, tokens: u32 },
}

impl LlamaCpp {
    /// `None`, with a word about it, where it is not installed.
    pub(crate) fn find(options: &Options) -> Option<Self> {
        let folder = options.peers().join("llama.cpp/bin");
        if folder.join("llama-bench").is_file() {
            return Some(Self { folder });
        }
        eprintln!(
            "no {}: rows have no llama.cpp; infra/bench/peers.sh installs it",
            folder.display()
        );
        None
    }

    /// Tokens per second.
    pub(crate) async fn measure(
        &self,
        case: &Case,
        measure: Measure,
        settings: &str,
    ) -> anyhow::Result<f64> {
        let (program, arguments) = command(case, measure);
        let mut command = Command::new(self.folder.join(program));
        command.arg("--model").arg(&case.path).args(arguments.split_whitespace());
        command.args(settings.split_whitespace());
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last: Vec<&str> = said.lines().rev().take(3).collect();
            bail!("{program} {arguments} {settings} ended with {}: {last:?}", output.status);
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = match measure {
            Measure::Batch { .. } => batch_rate(&said),
            Measure::Prefill(_) | Measure::Decode { .. } => rate(&said),
        };
        rate.with_context(|| format!("{program} said {said:?}"))
    }

    /// A command that loads the model, computes one token, and ends.
    pub(crate) fn one_token(&self, case: &Case) -> Command {
        let mut command = Command::new(self.folder.join("llama-bench"));
        command.arg("--model").arg(&case.path).args(["-p", "0", "-n", "1", "-r", "1"]);
        command.args(["--no-warmup", "-t", &case.threads.to_string()]);
        command
    }
}

fn command(case: &Case, measure: Measure) -> (&'static str, String) {
    let threads = case.threads;
    let bench = |test: String| ("llama-bench", format!("{test} -t {threads} -r 1 -o json"));
    match measure {
        Measure::Prefill(tokens) => bench(format!("-p {tokens} -n 0")),
        Measure::Decode { tokens, depth } => bench(format!("-p 0 -n {tokens} -d {depth}")),
        Measure::Batch { streams, prompt, tokens } => {
            let context = streams * (prompt + tokens);
            let shape = format!("-npl {streams} -npp {prompt} -ntg {tokens} -c {context}");
            let how = format!("-t {threads} -tb {threads} -ub 512 --output-format jsonl");
            ("llama-batched-bench", format!("{shape} {how}"))
        }
    }
}

/// From the output of `llama-bench -o json`.
fn rate(said: &str) -> Option<f64> {
    let tests: Value = serde_json::from_str(said).ok()?;
    tests.get(0)?.get("avg_ts")?.as_f64()
}

/// Of the generation alone, from the output of `llama-batched-bench --output-format jsonl`.
fn batch_rate(said: &str) -> Option<f64> {
    let line = said.lines().rev().find(|line| line.starts_with('{'))?;
    let row: Value = serde_json::from_str(line).ok()?;
    row.get("speed_tg")?.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_found_in_what_the_programs_say() {
        assert_eq!(rate(r#"[{"n_gen": 128, "avg_ts": 61.5}]"#), Some(61.5));
        assert_eq!(rate("error"), None);
        let said = "main: loading\n{\"pp\": 16, \"speed_pp\": 9.0, \"speed_tg\": 150.25}\n\nbye\n";
        assert_eq!(batch_rate(said), Some(150.25));
        assert_eq!(batch_rate("{}"), None);
    }
}
