use emberbox_kernels::memory;

use super::{Activation, Bias, Finish, Level, Stop, Stored, Weights, buffer, dense, floats, pool};
use crate::error::Outcome;
use crate::tensor::{Tensor, count};

/// Columns that are packed at a time: whole vectors of them.
const COLUMNS: usize = 16;

/// A product with a matrix that is known, and what follows it.
pub(crate) struct Linear {
    packed: Vec<u128>,
    inner: usize,
    columns: usize,
    /// One for each column, or none.
    pub(crate) bias: Vec<f32>,
    pub(crate) activation: Activation,
}

impl std::fmt::Debug for Linear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linear({} to {})", self.inner, self.columns)
    }
}

impl Linear {
    /// Packs a matrix of f32: `[inner, columns]`, or `[columns, inner]` where it is turned.
    pub(crate) fn new(w: &Tensor, turned: bool) -> Option<Self> {
        let [first, second] = *w.shape() else { return None };
        let (inner, columns) = if turned { (second, first) } else { (first, second) };
        let values = floats(w).filter(|values| !values.is_empty())?;
        let mut packed = memory::zeroed(Stored::F32.packed_bytes(columns, inner));
        let bytes = &mut memory::bytes(&mut packed)[..Stored::F32.packed_bytes(columns, inner)];
        // Some columns at a time, as the packing wants them: one after the other.
        let mut own = Vec::new();
        for (first, packed) in
            (0..columns).step_by(COLUMNS).zip(bytes.chunks_mut(COLUMNS * inner * 4))
        {
            let some = first..columns.min(first + COLUMNS);
            own.clear();
            match turned {
                true => values[some.start * inner..some.end * inner]
                    .iter()
                    .for_each(|v| own.extend(v.to_le_bytes())),
                false => some.clone().for_each(|column| {
                    let column = values[column..].iter().step_by(columns);
                    column.for_each(|v| own.extend(v.to_le_bytes()));
                }),
            }
            Stored::F32.pack(&own, some.len(), inner, packed);
        }
        Some(Self { packed, inner, columns, bias: Vec::new(), activation: Activation::None })
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The shape of the matrix.
    pub(crate) fn shape(&self) -> Vec<usize> {
        vec![self.inner, self.columns]
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.packed.as_slice())
    }

    /// Every row of `x` times the matrix, then `sum` where it has the result's shape, then the
    /// activation; whether these two were applied.
    pub(crate) fn run(
        &self,
        x: &Tensor,
        sum: Option<&Tensor>,
        stop: Stop<'_>,
    ) -> Outcome<(Tensor, bool)> {
        let values = floats(x).ok_or_else(|| format!("F32 is expected, not {:?}", x.kind()))?;
        let Some((last, rows)) = x.shape().split_last() else {
            return Err("a number is no matrix".to_owned());
        };
        if *last != self.inner {
            let (inner, columns) = (self.inner, self.columns);
            return Err(format!("{:?} does not go together with [{inner}, {columns}]", x.shape()));
        }
        let mut shape = rows.to_vec();
        shape.push(self.columns);
        let mut y = buffer::take(count(&shape)?);
        let fits = sum.is_none_or(|sum| sum.shape() == shape && floats(sum).is_some());
        let sum = sum.filter(|_| fits).and_then(floats);
        let activation = if fits { self.activation } else { Activation::None };
        if !y.is_empty() {
            let bias = if self.bias.is_empty() { Bias::None } else { Bias::Columns(&self.bias) };
            let finish = Finish { bias, sum, activation, stop };
            let bytes = memory::read(&self.packed);
            let packed = &bytes[..Stored::F32.packed_bytes(self.columns, self.inner)];
            let w = Weights { kind: Stored::F32, packed, rows: self.columns, columns: self.inner };
            pool::current(|pool| {
                dense::finished_linear((Level::detect(), pool), values, &w, finish, &mut y)
            });
        }
        Ok((Tensor::new(shape, y)?, fits))
    }
}

/// Products of pairs of matrices, `[m, inner]` by `[inner, n]`, at their places in `a` and `b`.
pub(crate) fn pairs(
    (a, of_a): (&[f32], &[usize]),
    (b, of_b): (&[f32], &[usize]),
    (m, inner, n): (usize, usize, usize),
    stop: Stop<'_>,
) -> Vec<f32> {
    let mut y = buffer::take(of_a.len() * m * n);
    if inner == 0 {
        y.fill(0.0);
        return y;
    }
    let level = Level::detect();
    let one = |pool: &pool::Pool, at: usize, y: &mut [f32]| {
        if stop.now() {
            return;
        }
        let a = &a[of_a[at] * m * inner..][..m * inner];
        let b = &b[of_b[at] * inner * n..][..inner * n];
        dense::multiply(level, pool, (a, inner), dense::Right::Plain(b), y);
    };
    if y.is_empty() {
        return y;
    }
    pool::current(|pool| match of_a.len() {
        // One product is cut by itself.
        1 => one(pool, 0, &mut y),
        _ => pool.parts(&mut y, m * n, &|at, y| one(pool, at, y)),
    });
    y
}
