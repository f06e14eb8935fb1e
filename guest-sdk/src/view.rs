use crate::Error;

/// Numbers of a tensor, to be read by their places: row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl View {
    /// Numbers in a shape.
    ///
    /// # Errors
    /// [`Error::Model`] if they do not fill it.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, Error> {
        let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if count != Some(values.len()) {
            return Err(Error::Model(format!("{} numbers do not fill {shape:?}", values.len())));
        }
        Ok(Self { shape, values })
    }

    /// Sizes of the dimensions.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All numbers, one row after the other.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The number at a place, where there is one.
    #[must_use]
    pub fn get(&self, place: &[usize]) -> Option<f32> {
        if place.len() != self.shape.len() {
            return None;
        }
        let mut at = 0;
        for (index, size) in place.iter().zip(&self.shape) {
            if index >= size {
                return None;
            }
            at = at * size + index;
        }
        self.values.get(at).copied()
    }

    /// The rows: slices along the last dimension.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let width = self.shape.last().copied().unwrap_or(1).max(1);
        self.values.chunks_exact(width)
    }

    /// Where the largest number of each row is.
    #[must_use]
    pub fn argmax(&self) -> Vec<usize> {
        let best = |row: &[f32]| {
            let all = row.iter().enumerate();
            all.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at)
        };
        self.rows().map(best).collect()
    }

    /// Probabilities by row, from logits.
    #[must_use]
    pub fn softmax(&self) -> Self {
        let row = |row: &[f32]| {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f32> = row.iter().map(|x| (x - most).exp()).collect();
            let sum: f32 = powers.iter().sum();
            powers.into_iter().map(move |power| power / sum)
        };
        Self { shape: self.shape.clone(), values: self.rows().flat_map(row).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_places() {
        let view = View::new(vec![2, 3], vec![0.0, 1.0, 2.0, 5.0, 4.0, 3.0]).unwrap();
        assert_eq!(view.get(&[1, 2]), Some(3.0));
        assert_eq!((view.get(&[2, 0]), view.get(&[0])), (None, None));
        assert_eq!(view.argmax(), [2, 0]);
        let sums: Vec<f32> = view.softmax().rows().map(|row| row.iter().sum()).collect();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6));
        assert!(View::new(vec![2, 2], vec![0.0; 3]).is_err());
    }
}
