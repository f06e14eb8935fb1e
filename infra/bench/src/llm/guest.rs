//! Tokens per second through a guest, beside the engine called directly: the `storyteller`
//! example, which streams what the model says, with the same prompt.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::ensure;
use emberbox_inference::api::{Prompt, Usage};
use emberbox_runtime::spend::{Exhausted, Permit, Spend, Units};
use emberbox_runtime::{Deployment, Engine, EngineOptions, Grants, Limits};
use http_body_util::BodyExt;

use super::machine::Watch;
use super::ours::Ours;
use super::rows::{LlmRow, Rounds, Target};
use super::{Case, Options};
use crate::{in_process, prebuilt};

pub(crate) const BENCH: &str = "llm-guest";
const TARGET: Target = Target::AtLeast(0.97);
/// The model that the guest names.
const MODEL: &str = "tiny-storyteller";
/// Tokens that the guest asks for.
const TOKENS: u32 = 200;
/// What the guest is asked, and what it asks the model then.
const PATH: &str = "/?about=a+fox&temperature=0";
const MESSAGES: &str = r#"[{"role":"user","content":"Tell me a story about a fox."}]"#;

/// The row of one case.
pub(crate) async fn measure(case: &Case, options: &Options) -> anyhow::Result<Vec<LlmRow>> {
    let mut watch = Watch::start()?;
    let ours = Ours::load(case, MODEL, |_| {})?;
    let guest = deploy()?;
    let (mut through, mut direct) = (Rounds::default(), Rounds::default());
    // Once each before it counts.
    for number in 0..=options.rounds() {
        watch.look().await?;
        let timeline = ours.generate(Prompt::Messages(MESSAGES.to_owned()), TOKENS).await?;
        let time = call(&guest, &ours).await?;
        if number > 0 {
            direct.push(f64::from(TOKENS) / timeline.whole().as_secs_f64());
            through.push(f64::from(TOKENS) / time);
        }
    }
    let row = LlmRow::new(BENCH, case, options).ours(&through, watch.conditions());
    Ok(vec![row.beside("the engine called directly", &direct, Some(TARGET))])
}

fn deploy() -> anyhow::Result<Deployment> {
    let component = prebuilt::read("storyteller")?;
    let engine = Engine::new(EngineOptions::default())?;
    let hour_ms = 3_600_000;
    let limits = Limits { wall_ms_max: hour_ms, cpu_ms_max: hour_ms, ..Limits::default() };
    let models = BTreeSet::from([MODEL.to_owned()]);
    let grants = Grants { models, ..Grants::default() };
    Ok(Deployment::compile(&engine, &component, limits, grants)?)
}

/// Seconds of one call, from its instance to the last byte of its answer.
async fn call(guest: &Deployment, ours: &Ours) -> anyhow::Result<f64> {
    let counted = Arc::new(Counted::default());
    let spend = Arc::<Counted>::clone(&counted);
    let call = in_process::call(PATH, Arc::new(ours.inference.clone()), spend)?;
    let began = Instant::now();
    let answer = guest.call(call).await?;
    let status = answer.response.status();
    let mut body = answer.response.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    let time = began.elapsed().as_secs_f64();
    answer.report.await;
    ensure!(status.is_success(), "the guest answered {status}");
    let tokens = counted.0.load(Ordering::Relaxed);
    ensure!(tokens == TOKENS, "{tokens} tokens came instead of {TOKENS}");
    Ok(time)
}

/// Lets a call spend what it wants, and counts the tokens it gets.
#[derive(Default)]
struct Counted(AtomicU32);

impl Spend for Counted {
    fn reserve(&self, _: &str, _: Units) -> Result<Permit, Exhausted> {
        Ok(Permit(0))
    }

    fn settle(&self, _: Permit, _: &str, actual: Usage) {
        self.0.fetch_add(actual.output_tokens, Ordering::Relaxed);
    }
}
