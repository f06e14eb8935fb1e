use std::path::{Path, PathBuf};

use emberbox_kernels::attention::Span;
use serde::Deserialize;

use super::{greedy, run_in};
use crate::api::{ModelKind, Open, Prompt, Task};
use crate::models::decoder::{Decoder, Rows};
use crate::models::load::{Checked, Text, check};
use crate::models::ops::Path as BurnPath;
use crate::testing::defaults;
use crate::{Inference, ModelSource};

pub(super) fn artifact() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tiny-lm/model/tiny-storyteller.gguf")
}

#[tokio::test]
async fn the_bundled_model_answers_a_chat() {
    let info = Inference::inspect(&artifact()).unwrap();
    assert_eq!((info.name.as_str(), info.kind), ("tiny-storyteller", ModelKind::Generation));
    assert_eq!((info.architecture.as_str(), info.quantisation.as_str()), ("llama", "Q8_0"));
    assert!(info.chat_template);
    let engine = Inference::new(defaults()).unwrap();
    engine.add("tiny", ModelSource::Path(artifact())).unwrap();
    let open = Open { model: "tiny".to_owned(), tenant: "org".to_owned() };
    let session = engine.open(open).await.unwrap();
    let messages = r#"[{"role":"user","content":"Tell me a story about a fox named Mia."}]"#;
    let prompt = Prompt::Messages(messages.to_owned());
    let task = Task::Generate { prompt, options: greedy(60) };
    let answer = run_in(&engine, session, task).await;
    assert!(answer.text.len() > 40, "{answer:?}");
}

/// Written by `examples/tiny-lm` from the same file: an f32 pass over the dequantised weights.
#[derive(Deserialize)]
struct Reference {
    prompts: Vec<ReferencePrompt>,
    tokenizer: Vec<ReferenceText>,
}

#[derive(Deserialize)]
struct ReferencePrompt {
    user: String,
    ids: Vec<u32>,
    last_logits_top: Vec<ReferenceLogit>,
    greedy_ids: Vec<u32>,
    greedy_text: String,
}

#[derive(Deserialize)]
struct ReferenceLogit {
    id: u32,
    logit: f32,
}

#[derive(Deserialize)]
struct ReferenceText {
    text: String,
    ids: Vec<u32>,
}

fn reference() -> Reference {
    let path = artifact().with_file_name("reference.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn checked() -> Checked {
    check("tiny", &ModelSource::Path(artifact()), u64::MAX).unwrap()
}

/// Logits after a prompt.
fn last_logits(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let rows = Rows {
        tokens: ids.to_vec(),
        spans: vec![Span { position: 0, rows: ids.len(), blocks: (0..8).collect() }],
        wanted: vec![ids.len() as u32 - 1],
    };
    decoder.forward(decoder.cache(8), rows).1
}

#[test]
fn the_tokenizer_agrees_with_the_one_that_trained_the_model() {
    let Text::Generation { codec, template: Some(template) } = checked().text else {
        panic!("no template")
    };
    let reference = reference();
    for text in reference.tokenizer {
        // There, control tokens in a text count.
        let ids = codec.encode_rendered(&text.text, '\u{E000}').unwrap();
        assert_eq!(ids, text.ids, "{:?}", text.text);
    }
    for prompt in reference.prompts {
        let messages = serde_json::json!([{"role": "user", "content": prompt.user}]);
        assert_eq!(template.encode((&messages.to_string(), &[]), &codec).unwrap(), prompt.ids);
    }
}

/// Within 1e-3 of the largest logit in f32, and within 4e-2 with activations in 8 bits.
#[test]
fn logits_agree_with_the_program_that_trained_the_model() {
    let checked = checked();
    for (path, tolerance) in [(BurnPath::Reference, 1e-3), (BurnPath::Kernels, 4e-2)] {
        let decoder = checked.decoder(path);
        for prompt in reference().prompts {
            let logits = last_logits(&decoder, &prompt.ids);
            let largest = prompt.last_logits_top.iter().fold(0f32, |a, l| a.max(l.logit.abs()));
            for ReferenceLogit { id, logit } in prompt.last_logits_top {
                let off = (logits[id as usize] - logit).abs() / largest;
                assert!(off < tolerance, "{path:?} {:?} {id}: off by {off}", prompt.user);
            }
        }
    }
}

/// Greedy text in f32; with activations in 8 bits only near ties may differ, so that path is held
/// to the logits above.
#[test]
fn greedy_tokens_agree_with_the_program_that_trained_the_model() {
    let checked = checked();
    let decoder = checked.decoder(BurnPath::Reference);
    let Text::Generation { codec, .. } = &checked.text else { panic!("not a generation model") };
    for prompt in reference().prompts {
        let mut ids = prompt.ids.clone();
        for expect in &prompt.greedy_ids {
            let logits = last_logits(&decoder, &ids);
            let best = (0u32..).zip(&logits).max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            assert_eq!(best, *expect, "{:?} after {} tokens", prompt.user, ids.len());
            ids.push(best);
        }
        let bytes = prompt.greedy_ids.iter().flat_map(|id| codec.bytes(*id).to_vec());
        assert_eq!(String::from_utf8_lossy(&bytes.collect::<Vec<_>>()), prompt.greedy_text);
    }
}
