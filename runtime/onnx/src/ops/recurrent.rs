use super::math::sigmoid;
use super::{Op, pairs};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Tensor, Value, count};

pub(super) fn find(name: &str) -> Option<Op> {
    Some(match name {
        "RNN" => |args| recurrent(args, (1, &["Tanh"]), simple),
        "GRU" => |args| recurrent(args, (3, &["Sigmoid", "Tanh"]), gated),
        "LSTM" => |args| recurrent(args, (4, &["Sigmoid", "Tanh", "Tanh"]), long),
        _ => return None,
    })
}

/// One direction of a layer, for one step of one of a batch.
struct Cell<'a> {
    hidden: usize,
    /// The product with the input, bias included, for each gate.
    from_input: &'a [f64],
    recurrence: &'a [f64],
    /// Of the recurrence, for each gate.
    bias: &'a [f64],
    peepholes: &'a [f64],
    activations: &'a [Activation],
    clip: f64,
    linear_before_reset: bool,
    forgets: bool,
}

type Step = fn(&Cell<'_>, &mut [f64], &mut [f64]);

/// An activation with its two numbers.
#[derive(Clone)]
struct Activation(String, f64, f64);

impl Activation {
    fn of(&self, x: f64) -> f64 {
        let Self(name, alpha, beta) = self;
        match name.as_str() {
            "Relu" => x.max(0.0),
            "Tanh" => x.tanh(),
            "Sigmoid" => sigmoid(x),
            "Affine" => alpha * x + beta,
            "LeakyRelu" => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            "ThresholdedRelu" => {
                if x < *alpha {
                    0.0
                } else {
                    x
                }
            }
            "ScaledTanh" => alpha * (beta * x).tanh(),
            "HardSigmoid" => (alpha * x + beta).clamp(0.0, 1.0),
            "Elu" => {
                if x < 0.0 {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            "Softsign" => x / (1.0 + x.abs()),
            _ => x.exp().ln_1p(),
        }
    }
}

impl Cell<'_> {
    /// A row of the recurrence's matrix times the last output.
    fn recurred(&self, gate: usize, unit: usize, last: &[f64]) -> f64 {
        let row = (gate * self.hidden + unit) * self.hidden;
        let products = self.recurrence[row..row + self.hidden].iter().zip(last);
        products.map(|(weight, last)| weight * last).sum()
    }

    fn bias(&self, gate: usize, unit: usize) -> f64 {
        self.bias.get(gate * self.hidden + unit).copied().unwrap_or(0.0)
    }

    fn input(&self, gate: usize, unit: usize) -> f64 {
        self.from_input[gate * self.hidden + unit]
    }

    fn act(&self, which: usize, x: f64) -> f64 {
        self.activations[which].of(x.max(-self.clip).min(self.clip))
    }

    fn peephole(&self, gate: usize, unit: usize) -> f64 {
        self.peepholes.get(gate * self.hidden + unit).copied().unwrap_or(0.0)
    }
}

fn simple(cell: &Cell<'_>, output: &mut [f64], _state: &mut [f64]) {
    let last = output.to_vec();
    for (unit, output) in output.iter_mut().enumerate() {
        let sum = cell.input(0, unit) + cell.recurred(0, unit, &last) + cell.bias(0, unit);
        *output = cell.act(0, sum);
    }
}

/// Gates: update, reset, hidden.
fn gated(cell: &Cell<'_>, output: &mut [f64], _state: &mut [f64]) {
    let last = output.to_vec();
    let gate = |gate: usize, unit: usize| {
        let sum = cell.input(gate, unit) + cell.recurred(gate, unit, &last) + cell.bias(gate, unit);
        cell.act(0, sum)
    };
    let reset: Vec<f64> = (0..cell.hidden).map(|unit| gate(1, unit)).collect();
    let after: Vec<f64> = last.iter().zip(&reset).map(|(last, reset)| last * reset).collect();
    for (unit, output) in output.iter_mut().enumerate() {
        let hidden = match cell.linear_before_reset {
            true => reset[unit] * (cell.recurred(2, unit, &last) + cell.bias(2, unit)),
            false => cell.recurred(2, unit, &after) + cell.bias(2, unit),
        };
        let new = cell.act(1, cell.input(2, unit) + hidden);
        let update = gate(0, unit);
        *output = (1.0 - update) * new + update * last[unit];
    }
}

/// Gates: input, output, forget, cell.
fn long(cell: &Cell<'_>, output: &mut [f64], state: &mut [f64]) {
    let last = output.to_vec();
    for (unit, (output, state)) in output.iter_mut().zip(state).enumerate() {
        let sum = |gate: usize| {
            cell.input(gate, unit) + cell.recurred(gate, unit, &last) + cell.bias(gate, unit)
        };
        let input = cell.act(0, sum(0) + cell.peephole(0, unit) * *state);
        let forget = match cell.forgets {
            true => 1.0 - input,
            false => cell.act(0, sum(2) + cell.peephole(2, unit) * *state),
        };
        *state = forget * *state + input * cell.act(1, sum(3));
        let opens = cell.act(0, sum(1) + cell.peephole(1, unit) * *state);
        *output = opens * cell.act(2, *state);
    }
}

fn activations(args: &Args<'_>, usual: &[&str], directions: usize) -> Vec<Activation> {
    let names: Vec<String> = match args.texts("activations") {
        Some(names) => names.to_vec(),
        None => {
            usual.iter().cycle().take(usual.len() * directions).map(|n| (*n).to_owned()).collect()
        }
    };
    let mut alphas = args.floats("activation_alpha").unwrap_or_default().iter();
    let mut betas = args.floats("activation_beta").unwrap_or_default().iter();
    let mut given = |name: &str| {
        let (alpha, beta) = match name {
            "Affine" | "ScaledTanh" => (Some(1.0), Some(1.0)),
            "HardSigmoid" => (Some(0.2), Some(0.5)),
            "LeakyRelu" => (Some(0.01), None),
            "ThresholdedRelu" | "Elu" => (Some(1.0), None),
            _ => (None, None),
        };
        let next = |usual: Option<f64>, all: &mut std::slice::Iter<'_, f32>| match usual {
            Some(usual) => all.next().map_or(usual, |x| f64::from(*x)),
            None => 0.0,
        };
        Activation(name.to_owned(), next(alpha, &mut alphas), next(beta, &mut betas))
    };
    names.iter().map(|name| given(name)).collect()
}

/// The parts of a layer that its cells share.
struct Layer {
    length: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    gates: usize,
    directions: usize,
    batch_first: bool,
}

impl Layer {
    fn of(args: &Args<'_>, gates: usize) -> Outcome<Self> {
        let (x, w) = (args.tensor(0)?, args.tensor(1)?);
        let (&[a, b, inputs], &[directions, rows, columns]) = (x.shape(), w.shape()) else {
            return Err("three dimensions are expected of input and weights".to_owned());
        };
        let batch_first = args.int("layout", 0) == 1;
        let (length, batch) = if batch_first { (b, a) } else { (a, b) };
        let hidden = rows / gates;
        let fits = columns == inputs
            && args.tensor(2)?.shape() == [directions, rows, hidden]
            && directions
                == if args.text("direction", "forward") == "bidirectional" { 2 } else { 1 };
        if !fits || hidden * gates != rows {
            return Err(format!("weights of the shape {:?} do not fit", w.shape()));
        }
        Ok(Self { length, batch, inputs, hidden, gates, directions, batch_first })
    }

    /// A state `[directions, batch, hidden]`, by direction first.
    fn state(&self, given: Option<&Tensor>) -> Outcome<Vec<f64>> {
        let all = count(&[self.directions, self.batch, self.hidden])?;
        let Some(given) = given else { return Ok(vec![0.0; all]) };
        let numbers = given.floats()?;
        if numbers.len() != all {
            return Err(format!("a state of the shape {:?} does not fit", given.shape()));
        }
        if !self.batch_first {
            return Ok(numbers);
        }
        let place = |at: usize| {
            let (direction, item) =
                (at / (self.batch * self.hidden), at / self.hidden % self.batch);
            (item * self.directions + direction) * self.hidden + at % self.hidden
        };
        Ok((0..all).map(|at| numbers[place(at)]).collect())
    }

    /// The last states, in the order that the layout has.
    fn stated(&self, state: &[f64]) -> (Vec<usize>, Vec<f64>) {
        if !self.batch_first {
            return (vec![self.directions, self.batch, self.hidden], state.to_vec());
        }
        let place = |at: usize| {
            let (item, direction) =
                (at / (self.directions * self.hidden), at / self.hidden % self.directions);
            (direction * self.batch + item) * self.hidden + at % self.hidden
        };
        let turned = (0..state.len()).map(|at| state[place(at)]).collect();
        (vec![self.batch, self.directions, self.hidden], turned)
    }
}

fn recurrent(args: &Args<'_>, (gates, usual): (usize, &[&str]), step: Step) -> Outcome<Vec<Value>> {
    let layer = Layer::of(args, gates)?;
    let Layer { length, batch, inputs, hidden, directions, .. } = layer;
    let kind = args.tensor(0)?.kind();
    let (x, w, r) =
        (args.tensor(0)?.floats()?, args.tensor(1)?.floats()?, args.tensor(2)?.floats()?);
    let bias = args.given(3)?.map(Tensor::floats).transpose()?;
    let lengths = args.given(4)?.map(Tensor::sizes).transpose()?;
    let mut output = layer.state(args.given(5)?)?;
    let mut state = layer.state(args.given(6)?)?;
    let peepholes = args.given(7)?.map(Tensor::floats).transpose()?.unwrap_or_default();
    let activations = activations(args, usual, directions);
    let rows = layer.gates * hidden;
    let mut all = vec![0.0; count(&[length, directions, batch, hidden])?];
    bounds::work(&[length, directions, batch, rows, inputs + hidden])?;
    for (direction, item) in pairs(directions, batch) {
        let backwards = direction == 1 || args.text("direction", "forward") == "reverse";
        let steps =
            lengths.as_ref().and_then(|all| all.get(item).copied()).unwrap_or(length).min(length);
        let own = (direction * batch + item) * hidden..(direction * batch + item + 1) * hidden;
        let (of_input, of_last) = match &bias {
            Some(bias) => bias
                .get(direction * 2 * rows..(direction + 1) * 2 * rows)
                .ok_or_else(|| "the bias does not fit".to_owned())?
                .split_at(rows),
            None => (&[][..], &[][..]),
        };
        for round in 0..steps {
            let time = if backwards { steps - 1 - round } else { round };
            let at = if layer.batch_first { item * length + time } else { time * batch + item };
            let x = &x[at * inputs..(at + 1) * inputs];
            let from_input: Vec<f64> = (0..rows)
                .map(|row| {
                    let weights = &w[(direction * rows + row) * inputs..][..inputs];
                    let sum: f64 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
                    sum + of_input.get(row).copied().unwrap_or(0.0)
                })
                .collect();
            let cell = Cell {
                hidden,
                from_input: &from_input,
                recurrence: &r[direction * rows * hidden..(direction + 1) * rows * hidden],
                bias: of_last,
                peepholes: peepholes.get(direction * 3 * hidden..).unwrap_or_default(),
                activations: activations
                    .get(direction * usual.len()..(direction + 1) * usual.len())
                    .ok_or_else(|| "activations are missing".to_owned())?,
                clip: args.float("clip", f32::INFINITY),
                linear_before_reset: args.flag("linear_before_reset"),
                forgets: args.flag("input_forget"),
            };
            step(&cell, &mut output[own.clone()], &mut state[own.clone()]);
            let to = match layer.batch_first {
                true => ((item * length + time) * directions + direction) * hidden,
                false => ((time * directions + direction) * batch + item) * hidden,
            };
            all[to..to + hidden].copy_from_slice(&output[own.clone()]);
        }
    }
    let shape = match layer.batch_first {
        true => vec![batch, length, directions, hidden],
        false => vec![length, directions, batch, hidden],
    };
    let (of_state, output) = layer.stated(&output);
    let (_, state) = layer.stated(&state);
    Ok(vec![
        Tensor::of_floats(kind, shape, &all)?.into(),
        Tensor::of_floats(kind, of_state.clone(), &output)?.into(),
        Tensor::of_floats(kind, of_state, &state)?.into(),
    ])
}
