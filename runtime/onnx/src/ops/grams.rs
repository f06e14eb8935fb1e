use std::collections::HashMap;

use super::{Op, one};
use crate::bounds;
use crate::error::Outcome;
use crate::run::Args;
use crate::tensor::{Kind, Tensor, Value, as_size, count};

pub(super) fn find(name: &str) -> Option<Op> {
    (name == "TfIdfVectorizer").then_some(vectorise)
}

/// Which sequences are looked for, and how.
struct Search {
    /// Lengths of the sequences.
    shortest: usize,
    longest: usize,
    /// Most items between two that belong together.
    skips: usize,
    /// Where in the pool the sequences of each length begin.
    starts: Vec<usize>,
}

impl Search {
    fn of(args: &Args<'_>) -> Outcome<Self> {
        let size =
            |name: &str| as_size(args.int(name, 0)).map_err(|why| format!("`{name}`: {why}"));
        let starts = args.ints("ngram_counts").unwrap_or_default();
        let starts = starts.iter().copied().map(as_size).collect::<Outcome<Vec<usize>>>()?;
        let (shortest, longest) = (size("min_gram_length")?.max(1), size("max_gram_length")?);
        let longest = longest.min(starts.len());
        Ok(Self { shortest, longest, skips: size("max_skip_count")?, starts })
    }

    /// The sequences of the pool with their numbers.
    fn grams<'p>(&self, pool: &'p [i64]) -> Outcome<HashMap<&'p [i64], usize>> {
        let mut grams = HashMap::new();
        let mut number = 0;
        for (at, start) in self.starts.iter().enumerate() {
            let (length, end) = (at + 1, self.starts.get(at + 1).copied().unwrap_or(pool.len()));
            let part = pool.get(*start..end);
            let part = part.ok_or_else(|| format!("{start} to {end} is not in the pool"))?;
            let wanted = (self.shortest..=self.longest).contains(&length);
            grams.extend(part.chunks_exact(length).zip(number..).filter(|_| wanted));
            number += part.len() / length;
        }
        Ok(grams)
    }

    /// Calls with the number of each sequence that is found.
    fn visit(
        &self,
        row: &[i64],
        grams: &HashMap<&[i64], usize>,
        mut found: impl FnMut(usize),
    ) -> Outcome<()> {
        // With more between them no two are in the row.
        let skips = self.skips.min(row.len());
        let mut gram = Vec::new();
        for length in self.shortest..=self.longest {
            // A single item has nothing to skip.
            let skips = if length == 1 { 0 } else { skips };
            bounds::work(&[row.len(), skips + 1, length])?;
            for (skip, start) in super::pairs(skips + 1, row.len()) {
                gram.clear();
                gram.extend(row[start..].iter().step_by(skip + 1).take(length));
                let number = grams.get(&gram[..]).filter(|_| gram.len() == length);
                number.into_iter().for_each(|number| found(*number));
            }
        }
        Ok(())
    }
}

/// How often sequences of a pool stand in each row.
fn counted(
    search: &Search,
    (pool, items, columns): (&[i64], &[i64], usize),
    (numbers, rows): (usize, usize),
) -> Outcome<Vec<Vec<f64>>> {
    count(&[numbers, rows])?;
    let grams = search.grams(pool)?;
    let row = |row: usize| {
        let mut counts = vec![0.0; numbers];
        let items = &items[row * columns..(row + 1) * columns];
        search.visit(items, &grams, |number| {
            counts.get_mut(number).into_iter().for_each(|count| *count += 1.0);
        })?;
        Ok(counts)
    };
    (0..rows).map(row).collect()
}

/// Texts of the pool as numbers, and those of the input.
fn numbered(pool: &[String], items: &[String]) -> (Vec<i64>, Vec<i64>) {
    let mut known: HashMap<&str, i64> = HashMap::new();
    for (text, number) in pool.iter().zip(0..) {
        known.entry(text).or_insert(number);
    }
    let number = |text: &String| known.get(text.as_str()).copied().unwrap_or(-1);
    (pool.iter().map(number).collect(), items.iter().map(number).collect())
}

fn vectorise(args: &Args<'_>) -> Outcome<Vec<Value>> {
    let x = args.tensor(0)?;
    let (rows, columns, mut shape) = match *x.shape() {
        [] => (1, 1, Vec::new()),
        [columns] => (1, columns, Vec::new()),
        [rows, columns] => (rows, columns, vec![rows]),
        _ => return Err(format!("[items] or [rows, items] is expected, not {:?}", x.shape())),
    };
    let search = Search::of(args)?;
    let indices = args.ints("ngram_indexes").unwrap_or_default();
    let indices = indices.iter().copied().map(as_size).collect::<Outcome<Vec<usize>>>()?;
    let size = indices.iter().max().map_or(0, |last| last.saturating_add(1));
    shape.push(size);
    let mut results = vec![0.0; count(&shape)?];
    bounds::work(&[rows, indices.len()])?;
    let (pool, items) = match x.elements::<String>() {
        Some(items) => numbered(args.texts("pool_strings").unwrap_or_default(), items),
        None => (args.ints("pool_int64s").unwrap_or_default().to_vec(), x.integers()?),
    };
    bounds::work(&[pool.len()])?;
    let counts = counted(&search, (&pool, &items, columns), (indices.len(), rows))?;
    let weights = args.floats("weights");
    let weight =
        |number: usize| weights.and_then(|all| all.get(number).copied()).map_or(1.0, f64::from);
    let value: &dyn Fn(usize, f64) -> f64 = match args.text("mode", "TF") {
        "TF" => &|_, count| count,
        "IDF" => &|number, count: f64| count.min(1.0) * weight(number),
        "TFIDF" => &|number, count| count * weight(number),
        other => return Err(format!("there is no mode `{other}`")),
    };
    for (row, counts) in counts.iter().enumerate() {
        for (number, count) in counts.iter().enumerate() {
            results[row * size + indices[number]] += value(number, *count);
        }
    }
    Tensor::of_floats(Kind::F32, shape, &results).map(one)
}
