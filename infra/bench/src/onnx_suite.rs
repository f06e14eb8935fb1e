//! ONNX's own suite for backends: how much of it passes, and why the rest does not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::row::{Format, Line};

#[path = "../../../runtime/onnx/tests/suite/runner.rs"]
mod runner;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder `onnx/backend/test/data` of the Python package `onnx`
    #[arg(long)]
    data: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A group of the suite.
#[derive(Debug, Serialize)]
struct Group {
    group: &'static str,
    passed: usize,
    total: usize,
    /// How many did not pass, by reason.
    skipped: BTreeMap<String, usize>,
}

impl Line for Group {
    fn columns(&self) -> String {
        let reasons: Vec<String> =
            self.skipped.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let Self { group, passed, total, .. } = self;
        format!("{group:<20} {passed:>6} of {total:<6} {}", reasons.join(", "))
    }
}

/// Runs all groups.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let format = Format::new(options.json);
    for group in runner::GROUPS {
        let all = runner::group(&options.data, group);
        anyhow::ensure!(!all.is_empty(), "there is no {group} in {}", options.data.display());
        let mut skipped = BTreeMap::new();
        for runner::Outcome { name, failure } in &all {
            let Some(why) = failure else { continue };
            let reason = runner::reason(why);
            // One that is there and gives another answer is worth its name.
            let reason = if reason == "another answer" { name.clone() } else { reason };
            *skipped.entry(reason).or_insert(0) += 1;
        }
        let failed: usize = skipped.values().sum();
        let (passed, total) = (all.len() - failed, all.len());
        format.print(&Group { group, passed, total, skipped })?;
    }
    Ok(())
}
