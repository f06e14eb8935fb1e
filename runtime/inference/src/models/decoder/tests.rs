use emberbox_kernels::attention::Span;
use emberbox_kernels::quant::Format;

use super::{Decoder, Rows};
use crate::ModelSource;
use crate::formats::weights::Storage;
use crate::models::kv::Blocks;
use crate::models::load::{Checked, check};
use crate::models::ops::Path;
use crate::testing::{SIZES, Scratch, Sizes, random_folder, random_gguf, random_gguf_as};

fn checked(sizes: Sizes, quantise: bool) -> Checked {
    let scratch = Scratch::new();
    let path = scratch.write("random.gguf", random_gguf(sizes, quantise).bytes());
    check("random", &ModelSource::Path(path), u64::MAX).unwrap()
}

/// Logits of every token, the sequence computed in the given steps.
fn run(decoder: &Decoder, tokens: &[u32], steps: &[usize]) -> Vec<f32> {
    let mut cache = decoder.cache(8);
    let mut all = Vec::new();
    let mut position = 0;
    for count in steps {
        let rows = Rows {
            tokens: tokens[position..position + count].to_vec(),
            spans: vec![Span { position, rows: *count, blocks: vec![6, 1, 3] }],
            wanted: (0..*count as u32).collect(),
        };
        let (after, logits) = decoder.forward(cache, rows);
        cache = after;
        all.extend(logits);
        position += count;
    }
    all
}

/// Root of the mean squared difference, relative to the values'.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(!a.is_empty());
    let off: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (off / b.iter().map(|b| b * b).sum::<f32>()).sqrt()
}

fn tokens() -> Vec<u32> {
    (0..70).map(|i| i * 37 % 260).collect()
}

#[test]
fn kernels_equal_burns_own_operations() {
    let many = Sizes { heads: 3, kv_heads: 3, head_dims: 32, hidden: 96, tied: true, ..SIZES };
    for (sizes, quantise, tolerance) in
        [(SIZES, false, 1e-5), (many, false, 1e-5), (SIZES, true, 0.03), (many, true, 0.03)]
    {
        let model = checked(sizes, quantise);
        let kernels = run(&model.decoder(Path::Kernels), &tokens(), &[70]);
        let reference = run(&model.decoder(Path::Reference), &tokens(), &[40, 1, 29]);
        let off = distance(&kernels, &reference);
        assert!(off < tolerance, "{sizes:?} quantised {quantise}: off by {off}");
    }
}

#[test]
fn both_formats_give_the_same_network() {
    for sizes in [SIZES, Sizes { tied: true, ..SIZES }] {
        let gguf = run(&checked(sizes, false).decoder(Path::Kernels), &tokens(), &[70]);
        let folder = random_folder(sizes);
        let source = ModelSource::Path(folder.path().to_owned());
        let folder = check("folder", &source, u64::MAX).unwrap();
        assert_eq!(gguf, run(&folder.decoder(Path::Kernels), &tokens(), &[70]));
    }
}

#[test]
fn chunks_and_neighbours_change_no_bit() {
    for quantise in [false, true] {
        let decoder = checked(SIZES, quantise).decoder(Path::Kernels);
        let alone = run(&decoder, &tokens(), &[70]);
        assert_eq!(alone, run(&decoder, &tokens(), &[1; 70]));
        assert_eq!(alone, run(&decoder, &tokens(), &[33, 5, 32]));
        let mut rows = Rows::default();
        for i in 0..5u32 {
            rows.tokens.extend(&tokens()[i as usize..]);
            let count = 70 - i as usize;
            let first = i * Blocks::needed(70) as u32;
            let blocks = (first..first + Blocks::needed(70) as u32).collect();
            rows.spans.push(Span { position: 0, rows: count, blocks });
        }
        rows.wanted = (0..70).collect();
        assert_eq!(alone, decoder.forward(decoder.cache(16), rows).1);
    }
}

/// Weights are the same on both paths; activations have 8 bits on one. Mixed types take a layer's
/// matrices through several kernels.
#[test]
fn every_type_of_weights_is_run_as_it_is_stored() {
    let sizes = Sizes { hidden: 256, feed_forward: 256, head_dims: 64, tied: true, ..SIZES };
    let all = Format::ALL.map(Storage::Blocks);
    let dense = [Storage::F16, Storage::Bf16];
    let mixed = |name: &str| match name {
        n if n.ends_with("attn_v") => Storage::Blocks(Format::Q6K),
        n if n.ends_with("attn_k") => Storage::F16,
        n if n.ends_with("ffn_up") => Storage::Blocks(Format::Q5_0),
        _ => Storage::Blocks(Format::Q4K),
    };
    let mut files: Vec<_> = dense
        .into_iter()
        .chain(all)
        .map(|storage| (storage.to_string(), random_gguf_as(sizes, |_| storage)))
        .collect();
    files.push(("Q4_K".to_owned(), random_gguf_as(sizes, mixed)));
    for (name, file) in files {
        let scratch = Scratch::new();
        let path = scratch.write("m.gguf", file.bytes());
        let model = check("m", &ModelSource::Path(path), u64::MAX).unwrap();
        assert_eq!(model.info.quantisation, name);
        let kernels = run(&model.decoder(Path::Kernels), &tokens(), &[70]);
        let reference = run(&model.decoder(Path::Reference), &tokens(), &[70]);
        let off = distance(&kernels, &reference);
        let tolerance = if name.ends_with("16") { 1e-5 } else { 0.06 };
        assert!(off < tolerance, "{name}: off by {off}");
    }
}
