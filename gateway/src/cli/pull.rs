//! `emberbox models pull`: a model from a hub, downloaded, checked and offered.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::context::{Context, plain};
use super::error::CliError;
use super::format::{rows, short, size};
use super::models::describe;
use super::output::Output;
use super::settings::DataFlag;
use crate::client::Client;
use crate::hub::{Event, Plan, Reference, Repository, Watch};

/// The folder of pulled models in the data folder.
const MODELS: &str = "models";
/// How a download looks on a terminal.
const BAR: &str = "{bar:30} {percent:>3}%  {decimal_bytes} of {decimal_total_bytes}  \
                   {decimal_bytes_per_sec}  {eta} left  {msg}";
/// Away from a terminal, how often it is told how far a download is, in percent.
const STEP_PERCENT: u64 = 10;

/// Download a model from the Hugging Face hub and add it; an operator's command
///
/// Takes the safetensors of a repository with their configuration, or one GGUF file. Run it on the
/// server's machine: the files go to its data folder, below models/, and the server reads them
/// there. What was interrupted goes on where it stopped, and every file is checked against the
/// hash that the hub has of it. Pickled weights (.bin) are never taken.
///
/// HF_TOKEN is your token for private and gated models, HF_ENDPOINT the address of another hub.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// hf:ORG/NAME, with @REVISION (a branch, tag or commit) and :FILE or :QUANT for a GGUF file
    #[arg(value_name = "MODEL")]
    model: Reference,
    /// The name that callers use [default: NAME]
    #[arg(long, value_parser = plain)]
    name: Option<String>,
    /// Only download; no server needs to run
    #[arg(long, conflicts_with = "name")]
    no_add: bool,
    /// Where models are kept [default: DATA/models]
    #[arg(long)]
    folder: Option<PathBuf>,
    #[command(flatten)]
    data: DataFlag,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let (settings, reference) = (&context.settings, &arguments.model);
    let name = arguments.name.as_ref().unwrap_or(&reference.name);
    let root = root(arguments, context)?;
    // Asked before gigabytes are downloaded for nothing.
    let server = if arguments.no_add { None } else { Some(context.admin(&arguments.data)?) };
    let is_taken = match &server {
        Some(server) => is_taken(server, name)?,
        None => false,
    };
    let repository = Repository::new(&settings.hub, settings.hub_token.clone(), reference.clone())?;
    let show = Show::new(context.out);
    let plan = Plan::make(&repository, &show)?;
    if is_taken && !plan.is_there(reference, &root) {
        return Err(CliError::Usage(format!(
            "the model '{name}' exists already, and is another: choose a --name, or remove it with \
             `emberbox models remove {name}`"
        )));
    }
    show.begin(&plan, reference);
    let pulled = plan.fetch(&repository, &root, &show)?;
    show.end();
    let path = shown(&pulled.path)?;
    let mut answer = json!({
        "repository": reference.to_string(),
        "commit": plan.commit,
        "path": path,
        "files": plan.files(),
        "bytes": plan.bytes(),
        "downloaded_bytes": pulled.downloaded_bytes,
    });
    let Some(server) = server else {
        return context.out.answer(&answer, |_| {
            format!("{reference} is at {path}\nadd it with `emberbox models add {name} {path}`")
        });
    };
    let busy = context.out.busy(&format!("loading {path}"));
    let model = server.post("/admin/v1/models", &json!({ "name": name, "path": path }))?;
    drop(busy);
    answer["model"] = model;
    context.out.answer(&answer, |paint| {
        let about = describe(&answer["model"]);
        format!("{} can be used: {about}\n{path}", paint.bold(name))
    })
}

/// Where models are kept. The server gets the path, and has another working folder.
fn root(arguments: &Arguments, context: &Context) -> Result<PathBuf, CliError> {
    let root = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => context.settings.data_folder(&arguments.data).join(MODELS),
    };
    std::path::absolute(&root).map_err(|source| CliError::File { path: root, source })
}

fn is_taken(server: &Client, name: &str) -> Result<bool, CliError> {
    let models = server.get("/admin/v1/models")?;
    Ok(rows(&models).iter().any(|model| model.get("name").and_then(Value::as_str) == Some(name)))
}

fn shown(path: &Path) -> Result<&str, CliError> {
    path.to_str().ok_or_else(|| CliError::Usage(format!("{} is not UTF-8", path.display())))
}

/// Shows a person how a pull goes: a bar on a terminal, some lines elsewhere, nothing to programs.
struct Show {
    out: Output,
    bar: RefCell<ProgressBar>,
    total_bytes: Cell<u64>,
    done_bytes: Cell<u64>,
    told_percent: Cell<u64>,
}

impl Show {
    fn new(out: Output) -> Self {
        Self {
            out,
            bar: RefCell::new(ProgressBar::hidden()),
            total_bytes: Cell::new(0),
            done_bytes: Cell::new(0),
            told_percent: Cell::new(0),
        }
    }

    /// What is downloaded is known.
    fn begin(&self, plan: &Plan, reference: &Reference) {
        let (files, bytes) = (plan.files(), size(plan.bytes()));
        let plural = if files == 1 { "" } else { "s" };
        let commit = short(&plan.commit);
        self.out.note(&format!("pulling {reference} at {commit}: {files} file{plural}, {bytes}"));
        self.total_bytes.set(plan.bytes());
        if self.out.moves() {
            // A template that is wrong would cost the bar's looks, not the model.
            let style = ProgressStyle::with_template(BAR);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            *self.bar.borrow_mut() = ProgressBar::new(plan.bytes()).with_style(style);
        }
    }

    fn end(&self) {
        self.bar.borrow().finish_and_clear();
    }

    /// Says in lines how far it is, where there is no bar.
    fn tell(&self) {
        let (done, total) = (self.done_bytes.get(), self.total_bytes.get());
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
        if self.out.moves() || percent < self.told_percent.get() + STEP_PERCENT {
            return;
        }
        self.told_percent.set(percent / STEP_PERCENT * STEP_PERCENT);
        self.out.note(&format!("{:>3} %  {} of {}", percent, size(done), size(total)));
    }
}

impl Watch for Show {
    fn see(&self, event: &Event<'_>) {
        let bar = self.bar.borrow();
        match event {
            Event::File(path) => bar.set_message((*path).to_owned()),
            Event::Found(bytes) | Event::Came(bytes) => {
                self.done_bytes.set(self.done_bytes.get().saturating_add(*bytes));
                bar.set_position(self.done_bytes.get());
                if matches!(event, Event::Found(_)) {
                    // What was there already says nothing about the line.
                    bar.reset_eta();
                }
                self.tell();
            }
            Event::Lost(bytes) => {
                self.done_bytes.set(self.done_bytes.get().saturating_sub(*bytes));
                bar.set_position(self.done_bytes.get());
            }
            Event::Again(error, pause_ms) => {
                let pause_s = pause_ms.div_ceil(1000);
                bar.suspend(|| self.out.note(&format!("{error}; again in {pause_s} s")));
            }
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.end();
    }
}
