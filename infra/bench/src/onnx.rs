//! Graphs and encoders beside ONNX Runtime and sentence-transformers, in turns.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use emberbox_inference::api::{Answer, Event, Input, Open, SessionId, Task};
use emberbox_inference::{EncoderWeights, Inference, InferenceOptions, ModelSource};
use emberbox_kernels::pool::Pool;
use emberbox_onnx::{Bounds, Kind, Model, Source, Tensor, Value};

use crate::row::{Format, Row};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/peer.py");

/// Between the runs of two sides: threads of either look for more work for a while, on the cores that
/// the other one is to have.
const REST: Duration = Duration::from_millis(50);

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A Python with the packages that `onnx/peer.py` names
    #[arg(long)]
    python: PathBuf,
    /// Where models are, or are written to
    #[arg(long)]
    folder: PathBuf,
    /// Threads of either side
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Rounds, each of one run of either side; the fastest counts
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A peer that answers each line with the seconds that it took.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(options: &Options, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(&options.python)
            .arg(PEER)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the peer's Python")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { anyhow::bail!("no pipes") };
        let mut peer = Self { child, input, output: BufReader::new(output) };
        anyhow::ensure!(peer.line()? == "ready", "the peer did not start");
        Ok(peer)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn seconds(&mut self, task: &str) -> anyhow::Result<f64> {
        writeln!(self.input, "{task}")?;
        self.input.flush()?;
        self.line()?.parse().context("the peer gave no time")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input; this is for one that hangs.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn script(options: &Options, arguments: &[&str]) -> anyhow::Result<String> {
    let command = Command::new(&options.python).arg(PEER).args(arguments).output()?;
    anyhow::ensure!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    Ok(String::from_utf8_lossy(&command.stdout).trim().to_owned())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

/// The fastest run of each in turns.
fn fastest(
    rounds: usize,
    mut ours: impl FnMut() -> anyhow::Result<()>,
    mut theirs: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<(f64, f64)> {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        std::thread::park_timeout(REST);
        let began = Instant::now();
        ours()?;
        best.0 = best.0.min(began.elapsed().as_secs_f64());
        std::thread::park_timeout(REST);
        best.1 = best.1.min(theirs()?);
    }
    Ok(best)
}

fn images() -> anyhow::Result<HashMap<String, Value>> {
    let value = |at: usize| (at % 255) as f32 / 127.0 - 1.0;
    let bytes: Vec<u8> = (0..3 * 224 * 224).flat_map(|at| value(at).to_le_bytes()).collect();
    let tensor = Tensor::from_bytes(Kind::F32, vec![1, 3, 224, 224], &bytes);
    let tensor = tensor.map_err(anyhow::Error::msg)?;
    Ok(HashMap::from([("x".to_owned(), Value::Tensor(tensor))]))
}

/// Images a second of networks shaped as known ones.
pub(crate) fn vision(options: &Options) -> anyhow::Result<()> {
    if !options.folder.join("resnet50.onnx").exists() {
        script(options, &["make", text(&options.folder)?])?;
    }
    let _pool = Pool::enter(Arc::new(Pool::new(options.threads)));
    for name in ["resnet50", "mobilenetv2"] {
        let path = options.folder.join(format!("{name}.onnx"));
        let model = Model::read(&std::fs::read(&path)?)?;
        let threads = options.threads.to_string();
        let mut peer = Peer::start(options, &["vision", text(&path)?, &threads])?;
        let ours = || {
            model.run(images()?, &Bounds::default())?;
            Ok(())
        };
        let (ours, theirs) = fastest(options.rounds, ours, || peer.seconds("run"))?;
        let case = format!("{name}, {threads} threads");
        let peer = ("onnxruntime", 1.0 / theirs);
        let row = Row::more_is_better("onnx-vision", case, 1.0 / ours, peer);
        Format::new(options.json).print(&Row { unit: "images/s", ..row })?;
    }
    Ok(())
}

/// Times a second that a graph of 100 MB can be made ready.
pub(crate) fn load(options: &Options) -> anyhow::Result<()> {
    let path = options.folder.join("resnet50.onnx");
    if !path.exists() {
        script(options, &["make", text(&options.folder)?])?;
    }
    let before = peak_kib()?;
    let bytes = std::fs::metadata(&path)?.len();
    let ours = || {
        Model::open(&Stored(std::fs::File::open(&path)?, bytes))?;
        Ok(())
    };
    let theirs = || Ok(script(options, &["load", text(&path)?])?.parse()?);
    let (ours, theirs) = fastest(options.rounds.min(5), ours, theirs)?;
    let peak = (peak_kib()? - before) as f64 * 1024.0 / bytes as f64;
    let peer = ("onnxruntime", 1.0 / theirs);
    let row = Row::more_is_better("onnx-load", "100 MB".to_owned(), 1.0 / ours, peer);
    let note = format!("{ours:.2} s, theirs {theirs:.2} s; our peak is {peak:.2} times the file");
    Format::new(options.json).print(&Row { unit: "loads/s", note, ..row })
}

/// A file, and its length.
struct Stored(std::fs::File, u64);

impl Source for Stored {
    fn len(&self) -> u64 {
        self.1
    }

    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, at).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

/// The most memory that this process has had.
fn peak_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Sentences a second of an encoder: `FOLDER` is in Hugging Face layout.
pub(crate) async fn embed(options: &Options) -> anyhow::Result<()> {
    let graph = std::env::temp_dir().join("emberbox-bench-encoder.onnx");
    script(options, &["export", text(&options.folder)?, text(&graph)?])?;
    let threads = options.threads.to_string();
    let (graph, folder) = (text(&graph)?.to_owned(), text(&options.folder)?.to_owned());
    let engines = [("onnxruntime", graph), ("sentence-transformers", folder)];
    let stored = Encoder::start(options, EncoderWeights::Stored).await?;
    let rounded = Encoder::start(options, EncoderWeights::Int8).await?;
    for (peer_name, model) in &engines {
        let mut peer = Peer::start(options, &["embed", peer_name, model, &threads])?;
        for (batch, tokens) in [(1, 16), (32, 16), (1, 256), (32, 256)] {
            let texts: Vec<Vec<u32>> = (0..batch).map(|at| tokens_of(at, tokens)).collect();
            let line = serde_json::to_string(&texts)?;
            let mut best = [f64::INFINITY; 3];
            for _ in 0..options.rounds {
                stored.timed(&texts, &mut best[0]).await?;
                rounded.timed(&texts, &mut best[1]).await?;
                tokio::time::sleep(REST).await;
                best[2] = best[2].min(peer.seconds(&line)?);
            }
            let vectors = (stored.vectors(&texts).await?, rounded.vectors(&texts).await?);
            let cosine = cosine(&vectors.0, &vectors.1, batch);
            let [stored, rounded, theirs] = best.map(|seconds| batch as f64 / seconds);
            let note = format!("int8; least cosine to f32 {cosine:.5}");
            for (ours, note) in [(stored, "f32".to_owned()), (rounded, note)] {
                let case = format!("{batch} of {tokens} tokens, {threads} threads");
                let row = Row::more_is_better("embed", case, ours, (peer_name, theirs));
                Format::new(options.json).print(&Row { unit: "sentences/s", note, ..row })?;
            }
        }
    }
    Ok(())
}

/// The least cosine of so many rows of two.
fn cosine(a: &[f32], b: &[f32], rows: usize) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let width = a.len() / rows;
    let pairs = a.chunks(width).zip(b.chunks(width));
    let cosines = pairs.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
    cosines.fold(1.0, f32::min)
}

fn tokens_of(text: usize, count: usize) -> Vec<u32> {
    let word = |at: usize| 2_000 + ((text * 131 + at * 17) % 20_000) as u32;
    let words = (2..count).map(word);
    std::iter::once(101).chain(words).chain([102]).collect()
}

/// One of our engines.
struct Encoder {
    engine: Inference,
    session: SessionId,
}

impl Encoder {
    async fn start(options: &Options, encoder_weights: EncoderWeights) -> anyhow::Result<Self> {
        let engine = Inference::new(InferenceOptions {
            threads: options.threads,
            encoder_weights,
            ..InferenceOptions::default()
        })?;
        engine.add("encoder", ModelSource::Path(options.folder.clone()))?;
        let open = Open { model: "encoder".to_owned(), tenant: "bench".to_owned() };
        let session = engine.open(open).await?;
        Ok(Self { engine, session })
    }

    /// Has texts computed, after a rest, and keeps the seconds if no run before took less.
    async fn timed(&self, texts: &[Vec<u32>], best: &mut f64) -> anyhow::Result<()> {
        tokio::time::sleep(REST).await;
        let began = Instant::now();
        self.vectors(texts).await?;
        *best = best.min(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// The vectors of texts, one after the other.
    async fn vectors(&self, texts: &[Vec<u32>]) -> anyhow::Result<Vec<f32>> {
        let texts = texts.iter().cloned().map(Input::Tokens).collect();
        self.engine.prepare(self.session, Task::Embed { texts }).await?;
        self.engine.submit(self.session).await?;
        let mut vectors = Vec::new();
        loop {
            match self.engine.next(self.session).await? {
                Event::Answer { answer: Answer::Embeddings { data, .. }, .. } => {
                    let values = data.as_chunks::<4>().0.iter();
                    vectors.extend(values.map(|bytes| f32::from_le_bytes(*bytes)));
                }
                Event::Done { .. } => return Ok(vectors),
                _ => {}
            }
        }
    }
}
