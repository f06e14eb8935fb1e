//! Messages: what the ledger wants told to somebody, kept until it is.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{MessageId, OrgId};

/// Messages of organisations that wait at most; beyond it the ledger keeps working and tells
/// nobody. As many again may wait for the operator.
pub const MESSAGES_MAX: usize = 10_000;
/// Messages of one organisation that wait at most.
pub const MESSAGES_PER_ORG_MAX: usize = 100;
/// How many of the operator's messages are told due in each turn; of an organisation it is one.
pub(crate) const MESSAGES_OF_OPERATOR_PER_TURN: usize = 8;

/// A message in the outbox. It is made in the transaction of what it tells, and sent at least
/// once; its id lets the receiver know a repetition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id, the same in every attempt.
    pub id: MessageId,
    /// Whose endpoint it goes to; `None` for the operator's.
    pub org: Option<OrgId>,
    /// What it tells, such as `balance.low`.
    pub topic: String,
    /// Its contents.
    pub body: Value,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Attempts that failed.
    pub attempts: u32,
    /// Not to be sent before, in milliseconds since 1970.
    pub due_at_ms: u64,
}
