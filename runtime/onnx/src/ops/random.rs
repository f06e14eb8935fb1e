use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::graph::Attribute;
use crate::run::Args;
use crate::tensor::stored::kind_of;
use crate::tensor::{Kind, Tensor, Value, as_size, count};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "Dropout" => dropout,
        "Bernoulli" => bernoulli,
        "RandomUniform" | "RandomUniformLike" => |args| numbers(args, uniform),
        "RandomNormal" | "RandomNormalLike" => |args| numbers(args, normal),
        _ => return None,
    })
}

const STATE: usize = 624;

/// The Mersenne Twister (Matsumoto and Nishimura), with the numbers that NumPy makes of it.
struct Twister {
    state: Box<[u32; STATE]>,
    at: usize,
}

impl Twister {
    fn new(seed: u32) -> Self {
        let mut state = Box::new([seed; STATE]);
        for (at, count) in (1..STATE).zip(1..) {
            let last = state[at - 1];
            state[at] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(count);
        }
        Self { state, at: STATE }
    }

    /// From a node's seed. Without one every node has its own, the same in each run.
    fn of(args: &Args<'_>) -> Self {
        let seed = match args.node.attributes.get("seed") {
            Some(Attribute::Int(seed)) => *seed as u32,
            Some(Attribute::Float(seed)) => *seed as i64 as u32,
            _ => bounds::nodes_left() as u32,
        };
        Self::new(seed)
    }

    fn renew(&mut self) {
        for at in 0..STATE {
            let both =
                (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % STATE] & 0x7fff_ffff);
            let odd = if both % 2 == 1 { 0x9908_b0df } else { 0 };
            self.state[at] = self.state[(at + 397) % STATE] ^ (both >> 1) ^ odd;
        }
        self.at = 0;
    }

    fn next(&mut self) -> u32 {
        if self.at >= STATE {
            self.renew();
        }
        let mut bits = self.state[self.at];
        self.at += 1;
        bits ^= bits >> 11;
        bits ^= (bits << 7) & 0x9d2c_5680;
        bits ^= (bits << 15) & 0xefc6_0000;
        bits ^ (bits >> 18)
    }

    /// From 0 to 1, without 1.
    fn number(&mut self) -> f64 {
        let (high, low) = (f64::from(self.next() >> 5), f64::from(self.next() >> 6));
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// Two normal numbers, by the polar form of Box and Muller's method.
    fn normals(&mut self) -> [f64; 2] {
        loop {
            let (x, y) = (2.0 * self.number() - 1.0, 2.0 * self.number() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                return [factor * y, factor * x];
            }
        }
    }
}

/// What is dropped in training; in use nothing is.
fn dropout(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let training = args.given(2)?.map(Tensor::flags).transpose()?.and_then(|flags| flags.first());
    let ratio = args.given(1)?.map(Tensor::number).transpose()?.unwrap_or(0.5);
    if training != Some(&true) || ratio == 0.0 {
        let mask = Tensor::new(x.shape().to_vec(), vec![true; x.len()])?;
        return Ok(vec![x.clone().into(), mask.into()]);
    }
    let mut twister = Twister::of(args);
    let mask: Vec<bool> = (0..x.len()).map(|_| twister.number() >= ratio).collect();
    let scale = 1.0 / (1.0 - ratio);
    let kept = x.floats()?.into_iter().zip(&mask);
    let kept: Vec<f64> = kept.map(|(x, keeps)| if *keeps { x * scale } else { 0.0 }).collect();
    let y = Tensor::of_floats(x.kind(), x.shape().to_vec(), &kept)?;
    Ok(vec![y.into(), Tensor::new(x.shape().to_vec(), mask)?.into()])
}

/// One where a number lies below a probability.
fn bernoulli(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let kind = args.maybe_int("dtype").map_or(Ok(x.kind()), kind_of)?;
    let mut twister = Twister::of(args);
    let draw = |p: f64| i64::from(twister.number() < p);
    let drawn: Vec<i64> = x.floats()?.into_iter().map(draw).collect();
    Tensor::of_integers(kind, x.shape().to_vec(), &drawn).map(one)
}

fn uniform(args: &Args<'_>, twister: &mut Twister) -> [f64; 2] {
    let (low, high) = (args.float("low", 0.0), args.float("high", 1.0));
    [twister.number(), twister.number()].map(|number| low + (high - low) * number)
}

fn normal(args: &Args<'_>, twister: &mut Twister) -> [f64; 2] {
    let (mean, scale) = (args.float("mean", 0.0), args.float("scale", 1.0));
    twister.normals().map(|number| mean + scale * number)
}

/// Of the shape and the type of an input, or those that are named.
fn numbers(args: &Args<'_>, two: fn(&Args<'_>, &mut Twister) -> [f64; 2]) -> Outcome<Vec<Value>> {
    let like = args.given(0)?;
    let kind = like.map_or(Kind::F32, Tensor::kind);
    let kind = args.maybe_int("dtype").map_or(Ok(kind), kind_of)?;
    let shape = match like {
        Some(like) => like.shape().to_vec(),
        None => {
            let sizes = args.ints("shape").ok_or_else(|| "the shape is missing".to_owned())?;
            sizes.iter().copied().map(as_size).collect::<Outcome<_>>()?
        }
    };
    let all = count(&shape)?;
    let mut twister = Twister::of(args);
    let pairs = std::iter::repeat_with(|| two(args, &mut twister)).flatten();
    let numbers: Vec<f64> = pairs.take(all).collect();
    Tensor::of_floats(kind, shape, &numbers).map(one)
}
