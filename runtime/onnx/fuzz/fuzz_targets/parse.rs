//! Any bytes as a model's file: refused, or read.
#![no_main]

use emberbox_onnx::Model;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(Model::read(data)));
