//! Tokens per second of candle's quantised Llama: `candle-peer FILE prefill|decode TOKENS`, threads by
//! `RAYON_NUM_THREADS`. Prints one number.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, what, tokens] = arguments.as_slice() else {
        return Err("usage: candle-peer FILE prefill|decode TOKENS".into());
    };
    let tokens: u32 = tokens.parse()?;
    let mut file = BufReader::new(File::open(path)?);
    let content = Content::read(&mut file)?;
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
    let mut run = |first: u32| -> Result<f64, Box<dyn Error>> {
        // Any tokens: the work is the same for each. Half of the vocabulary's smallest is used.
        let ids: Vec<u32> = (0..tokens).map(|i| (first + i * 7_919) % 16_384).collect();
        model.clear_kv_cache();
        let began = Instant::now();
        match what.as_str() {
            "prefill" => {
                let input = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
                finish(&model.forward(&input, 0)?)?;
            }
            "decode" => {
                for (position, id) in ids.into_iter().enumerate() {
                    let input = Tensor::new(&[[id]], &Device::Cpu)?;
                    finish(&model.forward(&input, position)?)?;
                }
            }
            other => return Err(format!("`{other}` is neither prefill nor decode").into()),
        }
        Ok(f64::from(tokens) / began.elapsed().as_secs_f64())
    };
    // The first run is not counted.
    run(1)?;
    println!("{}", run(2)?);
    Ok(())
}

/// Makes sure that the logits are there.
fn finish(logits: &Tensor) -> candle_core::Result<()> {
    logits.flatten_all()?.to_vec1::<f32>().map(drop)
}
