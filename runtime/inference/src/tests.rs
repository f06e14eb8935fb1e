//! The engine from outside, on the bundled model.

use std::path::{Path, PathBuf};

use crate::api::{Event, FinishReason, GenerateOptions, Open, Prompt, Task, Usage};
use crate::{Inference, InferenceOptions, ModelSource};

fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tiny-lm/model/tiny-storyteller.gguf")
}

fn engine() -> Inference {
    let engine = Inference::new(InferenceOptions::default()).unwrap();
    engine.add("tiny", ModelSource::Path(bundled())).unwrap();
    engine
}

async fn generate(
    engine: &Inference,
    prompt: Prompt,
    options: GenerateOptions,
) -> (String, Usage, FinishReason) {
    let open = Open { model: "tiny".to_owned(), tenant: "org".to_owned() };
    let session = engine.open(open).await.unwrap();
    engine.prepare(session, Task::Generate { prompt, options }).await.unwrap();
    engine.submit(session).await.unwrap();
    let mut text = String::new();
    loop {
        match engine.next(session).await.unwrap() {
            Event::Piece { text: piece, .. } => text.push_str(&piece),
            Event::Done { finish_reason, usage } => {
                engine.close(session);
                return (text, usage, finish_reason);
            }
            Event::Embeddings { .. } => panic!("not asked for"),
        }
    }
}

#[tokio::test]
async fn the_bundled_model_tells_a_story() {
    let engine = engine();
    println!("{:?}", engine.models());
    let messages = r#"[{"role":"user","content":"Tell me a story about a fox named Mia."}]"#;
    let options = GenerateOptions { temperature: 0.0, ..GenerateOptions::default() };
    let start = std::time::Instant::now();
    let (text, usage, reason) =
        generate(&engine, Prompt::Messages(messages.to_owned()), options).await;
    println!("{text}\n{usage:?} {reason:?} {:?}", start.elapsed());
    assert!(text.len() > 40 && usage.input_tokens == 13, "{text} {usage:?}");
}
