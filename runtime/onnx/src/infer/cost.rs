use super::{Fact, weights};
use crate::run::Args;

/// Operations for each element of what is no product: a function, or a move by its place.
const EACH: u64 = 4;

/// About how many floating-point operations a node takes.
pub(crate) fn operations(args: &Args<'_>, inputs: &[Option<Fact>], outputs: &[Fact]) -> u64 {
    let given: u64 = outputs.iter().map(Fact::len).fold(0, u64::saturating_add);
    let taken = inputs.iter().flatten().map(Fact::len).fold(0, u64::saturating_add);
    let plain = given.saturating_add(taken).saturating_mul(EACH);
    let product = multiplied(args, inputs, given);
    product.map_or(plain, |product| product.saturating_mul(2).saturating_add(plain))
}

/// Multiplications of what is more than a function of each element.
fn multiplied(args: &Args<'_>, inputs: &[Option<Fact>], given: u64) -> Option<u64> {
    let shape = |at: usize| inputs.get(at)?.as_ref().map(|fact| fact.shape.as_slice());
    let len = |at: usize| inputs.get(at)?.as_ref().map(Fact::len);
    let product = |sizes: &[usize]| sizes.iter().fold(1u64, |p, s| p.saturating_mul(*s as u64));
    match args.node.kind.as_str() {
        "Conv" | "ConvInteger" => {
            Some(given.saturating_mul(product(weights(args, inputs)?.get(1..)?)))
        }
        "QLinearConv" => Some(given.saturating_mul(product(shape(3)?.get(1..)?))),
        "ConvTranspose" => Some(len(0)?.saturating_mul(product(shape(1)?.get(1..)?))),
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => {
            Some(given.saturating_mul(*shape(0)?.last()? as u64))
        }
        "Gemm" => {
            let weights = weights(args, inputs)?;
            let by_place = args.node.prepared.is_none() && args.flag("transB");
            Some(given.saturating_mul(*weights.get(usize::from(by_place))? as u64))
        }
        "Einsum" => Some(inputs.iter().flatten().map(Fact::len).fold(1, u64::saturating_mul)),
        "Attention" => {
            // Every query with every key, and every value.
            let (queries, keys) = (len(0)?, shape(1)?);
            let length = *keys.get(keys.len().checked_sub(2)?)? as u64;
            let past = shape(4).and_then(|past| past.get(2)).copied().unwrap_or(0) as u64;
            Some(queries.saturating_mul(length + past).saturating_mul(2))
        }
        "LSTM" | "GRU" | "RNN" => {
            let steps = *shape(0)?.first()? as u64;
            let batch = *shape(0)?.get(1)? as u64;
            let each = len(1)?.saturating_add(len(2)?);
            Some(steps.saturating_mul(batch).saturating_mul(each))
        }
        "MaxPool" | "AveragePool" | "LpPool" => {
            let kernel = args.ints("kernel_shape")?;
            Some(kernel.iter().fold(given, |p, s| p.saturating_mul(s.unsigned_abs())))
        }
        "Det" | "NonMaxSuppression" | "DeformConv" | "RoiAlign" | "DFT" | "STFT" => {
            Some(len(0)?.saturating_mul(64))
        }
        _ => None,
    }
}
