use super::parse;
use crate::formats::blob::Blob;
use crate::testing::{Scratch, safetensors};

fn outcome(bytes: &[u8]) -> String {
    let scratch = Scratch::new();
    let path = scratch.write("m.safetensors", bytes);
    match parse(&Blob::open(&path, u64::MAX).unwrap(), 0) {
        Ok(entries) => format!("{} tensors", entries.len()),
        Err(error) => error.to_string(),
    }
}

fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn check(header: &str, data: usize, expect: &str) {
    let outcome = outcome(&with_header(header, data));
    assert!(outcome.contains(expect), "expected `{expect}` in `{outcome}`");
}

#[test]
fn wrong_headers_are_refused_with_their_reason() {
    let one = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    check(one, 8, "1 tensors");
    check(one, 7, "holds 7 bytes");
    check(one, 9, "holds 9 bytes");
    check("{", 0, "header");
    check(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8, "header");
    check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8, "header");
    check(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12, "header");
    check(
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,0]}}"#,
        0,
        "header",
    );
    check(r#"{"a":{"dtype":"I8","shape":[8],"data_offsets":[0,8]}}"#, 8, "not supported");
    check(
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
        12,
        "header",
    );
}

#[test]
fn lengths_are_checked_first() {
    assert!(outcome(&u64::MAX.to_le_bytes()).contains("over"));
    assert!(outcome(&1000u64.to_le_bytes()).contains("cut short"));
    assert!(outcome(&[1, 2]).contains("cut short"));
    let whole = safetensors(&[("a".to_owned(), vec![2, 3], vec![1.0; 6])]);
    for len in 0..whole.len() {
        assert!(!outcome(&whole[..len]).contains("1 tensors"), "cut to {len}");
    }
}
