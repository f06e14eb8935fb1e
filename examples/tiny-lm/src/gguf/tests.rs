use super::*;
use crate::model::Model;
use burn::tensor::Device;

#[test]
fn a_file_reads_back_as_the_quantised_model() {
    let device = Device::flex().autodiff();
    device.seed(5);
    let weights = Weights::of(&Model::new(&device));
    let tokenizer = Tokenizer::train(1).unwrap();
    let file = bytes(&weights, &tokenizer).unwrap();
    assert!(file.len().is_multiple_of(ALIGNMENT) && file.len() < 4 << 20, "{} bytes", file.len());
    let (read_weights, read_tokenizer) = read(&file).unwrap();
    assert_eq!(read_weights, weights.quantized().unwrap());
    assert_eq!(Weights::of(&read_weights.model(&device)), read_weights);
    for (ours, theirs) in weights.matrices.iter().zip(&read_weights.matrices) {
        let top = ours.values.iter().fold(0.0_f32, |top, value| top.max(value.abs()));
        for (a, b) in ours.values.iter().zip(&theirs.values) {
            assert!((a - b).abs() <= top / 200.0, "{}: {a} became {b}", ours.name);
        }
    }
    for text in ["Once upon a time, Mia's kite flew.", "<|user|>hi<|end|>", "  x\n\ty = 3 🦊"] {
        assert_eq!(read_tokenizer.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    }
    for end in [0, 3, 100, 60_000, file.len() - 40] {
        assert!(read(&file[..end]).is_err(), "cut at {end}");
    }
}
