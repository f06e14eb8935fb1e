use super::*;
use crate::config::{D_MODEL, HEAD_DIM, HEADS, ROPE_BASE};
use burn::tensor::{Device, Distribution, Int, activation};

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device).require_grad()
}

fn assert_close<const D: usize>(what: &str, ours: Tensor<D>, burns: Tensor<D>) {
    let ours = ours.into_data().try_into_vec::<f32>().unwrap();
    let burns = burns.into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(ours.len(), burns.len(), "{what}: length");
    let size = burns.iter().fold(1e-3_f32, |a, b| a.max(b.abs()));
    for (i, (a, b)) in ours.iter().zip(&burns).enumerate() {
        assert!((a - b).abs() <= 2e-4 * size, "{what}[{i}]: {a} against {b}");
    }
}

/// Checks values and gradients of `fused` against `composed`; the loss weighs the output's
/// elements differently, so that no error cancels.
fn check<const D: usize>(
    inputs: &[Tensor<D>],
    fused: impl Fn(&[Tensor<D>]) -> Tensor<2>,
    composed: impl Fn(&[Tensor<D>]) -> Tensor<2>,
) {
    let (ours, burns) = (fused(inputs), composed(inputs));
    assert_close("value", ours.clone().inner(), burns.clone().inner());
    let pull = Tensor::random(ours.dims(), Distribution::Normal(0.0, 1.0), &ours.device());
    let ours = (ours * pull.clone()).sum().backward();
    let burns = (burns * pull).sum().backward();
    for (i, input) in inputs.iter().enumerate() {
        let what = format!("gradient of input {i}");
        assert_close(&what, input.grad(&ours).unwrap(), input.grad(&burns).unwrap());
    }
}

fn norm_composed(x: &Tensor<2>, weight: Tensor<1>) -> Tensor<2> {
    let rms = (x.clone() * x.clone()).mean_dim(1).add_scalar(NORM_EPS).sqrt();
    x.clone() / rms * weight.unsqueeze()
}

#[test]
fn rms_norm_equals_burns() {
    let device = Device::flex().autodiff();
    let weight = random([D_MODEL], &device);
    let x = random([70, D_MODEL], &device);
    check(
        &[x],
        |x| rms_norm(x[0].clone(), weight.clone()),
        |x| norm_composed(&x[0], weight.clone()),
    );
    let x = random([70, D_MODEL], &device);
    check(&[weight], |w| rms_norm(x.clone(), w[0].clone()), |w| norm_composed(&x, w[0].clone()));
}

#[test]
fn swiglu_equals_burns() {
    let device = Device::flex().autodiff();
    check(
        &[random([70, 2 * D_FF], &device)],
        |x| swiglu(x[0].clone()),
        |x| {
            let [gate, up] = x[0].clone().split(D_FF, 1).try_into().unwrap();
            activation::silu(gate) * up
        },
    );
}

#[test]
fn cross_entropy_equals_burns() {
    let device = Device::flex().autodiff();
    let targets: Arc<[u32]> = Arc::from([3, IGNORE, 0, 49]);
    check(
        &[random([4, 50], &device)],
        |x| cross_entropy(x[0].clone(), &targets).unsqueeze(),
        |x| {
            let rows = x[0].clone().select(0, Tensor::from_ints([0, 2, 3], &device));
            let index: Tensor<2, Int> = Tensor::from_ints([[3], [0], [49]], &device);
            -activation::log_softmax(rows, 1).gather(1, index).mean().unsqueeze()
        },
    );
}

/// Rotates pairs (2i, 2i + 1) of `[heads, tokens, HEAD_DIM]`.
fn rope_composed(x: Tensor<3>) -> Tensor<3> {
    let [heads, tokens, _] = x.dims();
    let device = x.device();
    let angles: Vec<f32> = (0..tokens)
        .flat_map(|t| {
            (0..HEAD_DIM / 2)
                .map(move |i| t as f32 / ROPE_BASE.powf(2.0 * i as f32 / HEAD_DIM as f32))
        })
        .collect();
    let angles =
        Tensor::<3>::from_data(TensorData::new(angles, [1, tokens, HEAD_DIM / 2]), &device);
    let pairs = x.reshape([heads, tokens, HEAD_DIM / 2, 2]);
    let a: Tensor<3> =
        pairs.clone().slice([0..heads, 0..tokens, 0..HEAD_DIM / 2, 0..1]).squeeze_dim(3);
    let b: Tensor<3> = pairs.slice([0..heads, 0..tokens, 0..HEAD_DIM / 2, 1..2]).squeeze_dim(3);
    let (cos, sin) = (angles.clone().cos(), angles.sin());
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    let second = b * cos + a * sin;
    Tensor::stack::<4>(vec![first, second], 3).reshape([heads, tokens, HEAD_DIM])
}

fn attention_composed(qkv: &Tensor<2>) -> Tensor<2> {
    let tokens = qkv.dims()[0];
    let device = qkv.device();
    let part = |i: usize| {
        let part = qkv.clone().slice([0..tokens, i * D_MODEL..(i + 1) * D_MODEL]);
        part.reshape([tokens, HEADS, HEAD_DIM]).swap_dims(0, 1)
    };
    let (q, k, v) = (rope_composed(part(0)), rope_composed(part(1)), part(2));
    let scores = q.matmul(k.swap_dims(1, 2)) / (HEAD_DIM as f32).sqrt();
    let mask: Vec<f32> =
        (0..tokens * tokens).map(|i| if i % tokens > i / tokens { -1e9 } else { 0.0 }).collect();
    let mask = Tensor::<3>::from_data(TensorData::new(mask, [1, tokens, tokens]), &device);
    let p = activation::softmax(scores + mask, 2);
    p.matmul(v).swap_dims(0, 1).reshape([tokens, D_MODEL])
}

#[test]
fn attention_equals_burns_on_ragged_chats() {
    let device = Device::flex().autodiff();
    let lengths: Arc<[usize]> = Arc::from([5, 1, 37]);
    check(
        &[random([43, 3 * D_MODEL], &device)],
        |x| causal_attention(x[0].clone(), &lengths),
        |x| {
            let chat = |rows: std::ops::Range<usize>| {
                attention_composed(&x[0].clone().slice([rows, 0..3 * D_MODEL]))
            };
            Tensor::cat(vec![chat(0..5), chat(5..6), chat(6..43)], 0)
        },
    );
}
