use super::*;
use crate::testing::{assert_close, noise};

const SHAPES: [(usize, usize); 8] =
    [(1, 1), (1, 15), (2, 16), (3, 33), (2, 192), (40, 1000), (3, 20_000), (0, 8)];

/// An operation against its definition on one row, and with several threads against one.
fn check(name: &str, widths: (usize, usize), scale: f32, run: impl Fn(usize) -> (Owned, Defined)) {
    for (rows, width) in SHAPES {
        let x: Vec<f32> = noise(rows * width * widths.0, 5).iter().map(|v| v * scale).collect();
        let (kernel, define) = run(width);
        let mut expect = Vec::new();
        for row in x.chunks_exact(width * widths.0) {
            let row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
            expect.extend(define(&row).into_iter().map(|v| v as f32));
        }
        for level in Level::available() {
            let apply = |threads| {
                let mut y = vec![f32::NAN; rows * width * widths.1];
                kernel(level, &Pool::new(threads), &x, &mut y);
                y
            };
            let y = apply(1);
            assert_close(&y, &expect, 2e-6, &format!("{name} {level:?} {rows}x{width}"));
            assert!(apply(3) == y, "{name} {level:?} {rows}x{width}: threads");
        }
    }
}

type Owned = Box<dyn Fn(Level, &Pool, &[f32], &mut [f32])>;
type Defined = Box<dyn Fn(&[f64]) -> Vec<f64>>;

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

fn squares(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64
}

const EPSILON: f32 = 1e-3;

fn rms(x: &[f64], weight: &[f32]) -> Vec<f64> {
    let scale = 1.0 / (squares(x) + f64::from(EPSILON)).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * scale * f64::from(*w)).collect()
}

#[test]
fn norms_equal_their_definitions() {
    check("rms_norm", (1, 1), 3.0, |width| {
        let weight = noise(width, 4);
        let other = weight.clone();
        (
            Box::new(move |level, pool, x, y| {
                let norm = Norm { weight: &weight, bias: None, epsilon: EPSILON };
                rms_norm(level, pool, x, norm, y);
            }),
            Box::new(move |x| rms(x, &other)),
        )
    });
    check("layer_norm", (1, 1), 3.0, |width| {
        let (weight, bias) = (noise(width, 4), noise(width, 6));
        let (w, b) = (weight.clone(), bias.clone());
        (
            Box::new(move |level, pool, x, y| {
                let norm = Norm { weight: &weight, bias: Some(&bias), epsilon: EPSILON };
                layer_norm(level, pool, x, norm, y);
            }),
            Box::new(move |x| {
                let mean = mean(x);
                let x: Vec<f64> = x.iter().map(|v| v - mean).collect();
                let y = rms(&x, &w);
                y.iter().zip(&b).map(|(y, b)| y + f64::from(*b)).collect()
            }),
        )
    });
}

#[test]
fn add_rms_norm_stores_the_sum_and_its_norm() {
    for (rows, width) in SHAPES {
        let (x, old) = (noise(rows * width, 1), noise(rows * width, 2));
        let weight = noise(width, 3);
        let norm = Norm { weight: &weight, bias: None, epsilon: EPSILON };
        for level in Level::available() {
            let (mut sum, mut y) = (old.clone(), vec![f32::NAN; x.len()]);
            add_rms_norm(level, &Pool::new(3), (&x, &mut sum), norm, &mut y);
            let expect: Vec<f32> = x.iter().zip(&old).map(|(x, old)| x + old).collect();
            assert_eq!(sum, expect);
            let mut expect = vec![f32::NAN; x.len()];
            rms_norm(level, &Pool::new(1), &sum, norm, &mut expect);
            assert_eq!(y, expect);
        }
    }
}

#[test]
fn softmax_equals_its_definition() {
    check("softmax", (1, 1), 20.0, |width| {
        (
            Box::new(move |level, pool, x, y| softmax(level, pool, x, width, y)),
            Box::new(|x| {
                let largest = x.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
                let sum: f64 = x.iter().map(|x| (x - largest).exp()).sum();
                x.iter().map(|x| (x - largest).exp() / sum).collect()
            }),
        )
    });
}

#[test]
fn gates_equal_their_definitions() {
    check("silu_mul", (2, 1), 20.0, |width| {
        (
            Box::new(move |level, pool, x, y| silu_mul(level, pool, x, width, y)),
            Box::new(|x| {
                let (gate, up) = x.split_at(x.len() / 2);
                gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
            }),
        )
    });
    check("gelu_tanh_mul", (2, 1), 5.0, |width| {
        (
            Box::new(move |level, pool, x, y| gelu_tanh_mul(level, pool, x, width, y)),
            Box::new(|x| {
                let (gate, up) = x.split_at(x.len() / 2);
                let gelu = |x: f64| {
                    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                    x / 2.0 * (1.0 + inner.tanh())
                };
                gate.iter().zip(up).map(|(g, u)| gelu(*g) * u).collect()
            }),
        )
    });
}

/// The error function by its series, which converges everywhere.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn gelu_and_add_equal_their_definitions() {
    check("gelu", (1, 1), 5.0, |_| {
        (
            Box::new(gelu),
            Box::new(|x| {
                let one = |x: &f64| x / 2.0 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
                x.iter().map(one).collect()
            }),
        )
    });
    check("add", (1, 1), 5.0, |_| {
        (
            Box::new(|level, pool, x, y| {
                y.fill(1.0);
                add(level, pool, x, y);
            }),
            Box::new(|x| x.iter().map(|x| x + 1.0).collect()),
        )
    });
}

#[test]
#[should_panic(expected = "x is not as large as y")]
fn other_sizes_are_refused() {
    add(Level::detect(), &Pool::new(1), &[0.0; 3], &mut [0.0; 4]);
}

#[test]
#[ignore = "prints speeds"]
fn speeds() {
    for threads in [1, 2] {
        let pool = Pool::new(threads);
        let level = Level::detect();
        let x = noise(8 * 49_152, 1);
        let (mut y, mut sum) = (vec![0.0; x.len()], x.clone());
        let weight = noise(2048, 2);
        let norm = Norm { weight: &weight, bias: None, epsilon: EPSILON };
        let mut time = |name: &str, run: &mut dyn FnMut(&mut [f32])| {
            let best = crate::speed::fastest(threads, 50, || run(&mut y));
            println!("{threads} threads {name}: {:.1} us", best * 1e6);
        };
        time("softmax 8x49152", &mut |y| softmax(level, &pool, &x, 49_152, y));
        time("rms_norm 192x2048", &mut |y| rms_norm(level, &pool, &x, norm, y));
        time("add_rms_norm 192x2048", &mut |y| {
            add_rms_norm(level, &pool, (&x, &mut sum), norm, y);
        });
        time("rms_norm 1x2048", &mut |y| {
            rms_norm(level, &pool, &x[..2048], norm, &mut y[..2048]);
        });
        let half = x.len() / 2;
        time("silu_mul 24x8192", &mut |y| silu_mul(level, &pool, &x, 8192, &mut y[..half]));
        time("silu_mul 1x8192", &mut |y| {
            silu_mul(level, &pool, &x[..16_384], 8192, &mut y[..8192]);
        });
        time("gelu 393216", &mut |y| gelu(level, &pool, &x, y));
    }
}
