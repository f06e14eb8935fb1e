use super::parse;
use crate::formats::blob::Blob;
use crate::testing::{Field, GgufFile, SIZES, Scratch, random_gguf};

fn small() -> GgufFile {
    let mut file = GgufFile::default();
    file.set("general.architecture", Field::text("llama"));
    file.tensor("a", &[2, 32], &[0.5; 64], false);
    file.tensor("b", &[2, 32], &[0.5; 64], true);
    file
}

fn outcome(bytes: &[u8]) -> String {
    let scratch = Scratch::new();
    let path = scratch.write("m.gguf", bytes);
    match parse(Blob::open(&path, u64::MAX).unwrap()) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Changes a good file and looks for a phrase in what is said of it.
fn check(change: impl FnOnce(&mut GgufFile), expect: &str) {
    let mut file = small();
    change(&mut file);
    let outcome = outcome(&file.bytes());
    assert!(outcome.contains(expect), "expected `{expect}` in `{outcome}`");
}

#[test]
fn a_wrong_description_is_refused_with_its_reason() {
    check(|_| {}, "fine");
    check(|f| f.tensors[1].name = "a".to_owned(), "tensor `a` appears twice");
    check(|f| f.fields.push(f.fields[0].clone()), "`general.architecture` appears twice");
    check(|f| f.tensors[1].offset = 0, "overlap");
    check(|f| f.tensors[1].offset = 1 << 40, "outside the file");
    check(|f| f.tensors[1].offset = u64::MAX - 31, "outside the file");
    check(|f| f.tensors[1].offset = 257, "not a multiple of 32");
    check(|f| f.tensors[0].dims = vec![1 << 40, 1 << 40], "overflow");
    check(|f| f.tensors[0].dims = vec![1 << 50], "outside the file");
    check(|f| f.tensors[0].dims = vec![0, 32], "empty");
    check(|f| f.tensors[0].dims = vec![], "0 dimensions");
    check(|f| f.tensors[0].dims = vec![1; 5], "5 dimensions");
    check(|f| f.tensors[1].dims = vec![2, 32], "do not fit Q8_0");
    check(|f| f.tensors[0].kind = 12, "do not fit Q4_K");
    check(|f| f.tensors[0].kind = 15, "Q8_K, which is not supported");
    check(|f| f.tensors[0].kind = 999, "number 999");
    check(|f| f.tensors[0].name = "x".repeat(257), "more than 256");
    check(|f| f.set("general.alignment", Field::U32(24)), "`general.alignment`");
    check(|f| f.set("general.alignment", Field::text("x")), "`general.alignment`");
}

/// Overwrites bytes of a good file.
fn patched(at: usize, bytes: &[u8]) -> String {
    let mut file = small().bytes();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    outcome(&file)
}

#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    for (at, bytes, expect) in [
        (0, &b"GGML"[..], "not a GGUF file"),
        (4, &1u32.to_le_bytes(), "version 1; 2 and 3"),
        (4, &4u32.to_le_bytes(), "version 4; 2 and 3"),
        (8, &u64::MAX.to_le_bytes(), "tensor count"),
        (16, &u64::MAX.to_le_bytes(), "key count"),
        (24, &u64::MAX.to_le_bytes(), "a key"),
        // The length of the text of the first key: 24 + 8 + 20 + 4.
        (56, &u64::MAX.to_le_bytes(), "larger than"),
        (56, &(1u64 << 30).to_le_bytes(), "larger than"),
        (56, &(1u64 << 20).to_le_bytes(), "cut short"),
        (52, &77u32.to_le_bytes(), "no value type 77"),
    ] {
        let outcome = patched(at, bytes);
        assert!(outcome.contains(expect), "expected `{expect}` in `{outcome}`");
    }
}

#[test]
fn version_2_is_read_alike() {
    assert_eq!(patched(4, &2u32.to_le_bytes()), "fine");
}

#[test]
fn a_long_list_is_refused() {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.push(b'k');
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend((1u64 << 50).to_le_bytes());
    let outcome = outcome(&bytes);
    assert!(outcome.contains("too many"), "{outcome}");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = small().bytes();
    for len in 0..bytes.len() {
        assert_ne!(outcome(&bytes[..len]), "fine", "cut to {len} of {}", bytes.len());
    }
}

#[test]
fn random_damage_does_not_panic() {
    let good = random_gguf(SIZES, true).bytes();
    let mut state = 1u64;
    for _ in 0..300 {
        let mut bytes = good[..12_000].to_vec();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 20) as u8;
        }
        outcome(&bytes);
    }
}
