use std::collections::HashMap;
use std::sync::Mutex;

use emberbox_runtime::bridge::Usage;
use emberbox_runtime::spend::{Exhausted, Permit, Spend, Units};

/// A budget in tokens that keeps book, and fails the test when it is used wrongly.
pub(crate) struct Purse(Mutex<Book>);

struct Book {
    tokens: u64,
    next: u64,
    open: HashMap<u64, u64>,
    settled: Vec<Usage>,
}

impl Purse {
    pub(crate) fn new(tokens: u64) -> Self {
        Self(Mutex::new(Book { tokens, next: 0, open: HashMap::new(), settled: Vec::new() }))
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.0.lock().expect("book").tokens
    }

    pub(crate) fn reservations(&self) -> usize {
        self.0.lock().expect("book").open.len()
    }

    pub(crate) fn settled(&self) -> Vec<Usage> {
        self.0.lock().expect("book").settled.clone()
    }
}

impl Spend for Purse {
    fn reserve(&self, _model: &str, worst: Units) -> Result<Permit, Exhausted> {
        let mut book = self.0.lock().expect("book");
        let worst = u64::from(worst.input_tokens) + u64::from(worst.output_tokens);
        book.tokens = book.tokens.checked_sub(worst).ok_or(Exhausted)?;
        book.next += 1;
        let permit = book.next;
        book.open.insert(permit, worst);
        Ok(Permit(permit))
    }

    fn settle(&self, permit: Permit, _model: &str, actual: Usage) {
        let mut book = self.0.lock().expect("book");
        let worst = book.open.remove(&permit.0).expect("settled twice, or never reserved");
        let used = u64::from(actual.input_tokens) + u64::from(actual.output_tokens);
        book.tokens += worst.checked_sub(used).expect("used more than was reserved");
        book.settled.push(actual);
    }
}
