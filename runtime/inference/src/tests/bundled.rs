use std::path::{Path, PathBuf};

use super::{greedy, run_in};
use crate::api::{ModelKind, Open, Prompt, Task};
use crate::{Inference, InferenceOptions, ModelSource};

fn artifact() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tiny-lm/model/tiny-storyteller.gguf")
}

#[tokio::test]
async fn the_bundled_model_answers_a_chat() {
    let info = Inference::inspect(&artifact()).unwrap();
    assert_eq!((info.name.as_str(), info.kind), ("tiny-storyteller", ModelKind::Generation));
    assert_eq!((info.architecture.as_str(), info.quantisation.as_str()), ("llama", "Q8_0"));
    assert!(info.chat_template);
    let engine = Inference::new(InferenceOptions::default()).unwrap();
    engine.add("tiny", ModelSource::Path(artifact())).unwrap();
    let open = Open { model: "tiny".to_owned(), tenant: "org".to_owned() };
    let session = engine.open(open).await.unwrap();
    let messages = r#"[{"role":"user","content":"Tell me a story about a fox named Mia."}]"#;
    let prompt = Prompt::Messages(messages.to_owned());
    let task = Task::Generate { prompt, options: greedy(60) };
    let answer = run_in(&engine, session, task).await;
    assert!(answer.text.len() > 40, "{answer:?}");
}
