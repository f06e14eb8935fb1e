use std::sync::Arc;

use super::super::tensor::TensorBudget;
use super::*;

fn text(value: &str) -> HostTensor {
    let data = value.as_bytes().to_vec();
    let dimensions = vec![u32::try_from(data.len()).unwrap()];
    HostTensor::from_guest(
        dimensions,
        TensorType::U8,
        data,
        &TensorBudget::new(1_000, Arc::default()),
    )
}

fn asked(inputs: &[(&str, &str)]) -> Result<Asked, String> {
    let inputs: Vec<(String, HostTensor)> =
        inputs.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
    read(ModelKind::Generation, &inputs).map_err(|error| error.data)
}

#[test]
fn inputs_become_tasks() {
    let options = GenerateOptions { max_tokens: Some(5), seed: Some(7), ..Default::default() };
    let json = r#"{"max_tokens":5,"seed":7,"top_p":null,"stream":true}"#;
    let prompt = Prompt::Text("Hi".to_owned());
    assert_eq!(
        asked(&[("options", json), ("prompt", "Hi")]),
        Ok(Asked { task: Task::Generate { prompt: prompt.clone(), options }, stream: true })
    );
    let options = GenerateOptions::default();
    assert_eq!(
        asked(&[("prompt", "Hi")]),
        Ok(Asked { task: Task::Generate { prompt, options }, stream: false })
    );
    let texts = vec!["a".into(), "b".into()];
    assert_eq!(
        asked(&[("texts", r#"["a","b"]"#)]),
        Ok(Asked { task: Task::Embed { texts }, stream: false })
    );
}

#[test]
fn mistakes_are_named() {
    for (inputs, expect) in [
        (&[("options", "{}")][..], "nothing to compute"),
        (&[("prompt", "a"), ("texts", "[]")], "`texts` and `prompt` cannot be given together"),
        (&[("prompt", "a"), ("prompt", "b")], "`prompt` and `prompt`"),
        (&[("image", "a")], "there is no input `image`"),
        (&[("texts", "[]")], "`texts` is empty"),
        (&[("texts", "[1]")], "JSON array of strings"),
        (&[("prompt", "a"), ("options", "[]")], "must be a JSON object"),
        (&[("prompt", "a"), ("options", r#"{"stream":1}"#)], "option `stream`"),
        (&[("prompt", "a"), ("options", r#"{"top_k":"x"}"#)], "option `top_k`"),
        (&[("prompt", "a"), ("options", r#"{"cost":0}"#)], "option `cost`"),
    ] {
        let error = asked(inputs).unwrap_err();
        assert!(error.contains(expect), "{inputs:?}: {error}");
    }
}
