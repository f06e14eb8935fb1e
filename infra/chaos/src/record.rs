//! What clients saw in one round. This, and not the server, says what must be true after it.

/// Who calls: an organisation by its place in the books, and one of its keys.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The organisation's place in the books.
    pub(crate) org: usize,
    /// The key's id, as receipts name it.
    pub(crate) key: String,
    /// The key itself.
    pub(crate) secret: String,
}

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A function.
    Function,
    /// A model.
    Model,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The whole answer came, with its receipt and cost.
    Receipted {
        /// The receipt's id.
        receipt: String,
        /// Its amount in nano-credits.
        amount: i64,
    },
    /// The whole answer came. It was streamed, so its head could not name the receipt.
    Answered,
    /// The whole refusal came: nothing may be charged.
    Refused,
    /// The client left, the connection broke, or the storage failed: there may be a receipt.
    Unknown {
        /// Whether bytes of the answer arrived.
        begun: bool,
    },
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The organisation's place in the books.
    pub(crate) org: usize,
    /// The key's id.
    pub(crate) key: String,
    /// What was called.
    pub(crate) subject: Subject,
    /// When it was sent, in milliseconds since 1970.
    pub(crate) sent_ms: u64,
    /// When its end was seen.
    pub(crate) done_ms: u64,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// One top-up.
#[derive(Debug, Clone)]
pub(crate) struct TopUp {
    /// The operator's own id, the same in every repetition.
    pub(crate) id: String,
    /// The organisation's place in the books.
    pub(crate) org: usize,
    /// Nano-credits.
    pub(crate) amount: i64,
    /// Whether a whole answer said that it was made.
    pub(crate) acknowledged: bool,
}

/// Everything that was seen in one round.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The calls.
    pub(crate) calls: Vec<Call>,
    /// The top-ups.
    pub(crate) top_ups: Vec<TopUp>,
    /// Ids of keys that were made and shown.
    pub(crate) keys: Vec<String>,
    /// The newest price version that was acknowledged.
    pub(crate) price_version: u64,
    /// Answers that no round explains, in sentences.
    pub(crate) strange: Vec<String>,
}

impl Record {
    /// Adds what another client saw.
    pub(crate) fn add(&mut self, other: Record) {
        self.calls.extend(other.calls);
        self.top_ups.extend(other.top_ups);
        self.keys.extend(other.keys);
        self.price_version = self.price_version.max(other.price_version);
        self.strange.extend(other.strange);
    }

    /// How many calls were answered in full.
    pub(crate) fn acknowledged(&self) -> usize {
        let whole =
            |call: &&Call| matches!(call.outcome, Outcome::Receipted { .. } | Outcome::Answered);
        self.calls.iter().filter(whole).count()
    }
}
