//! Messages that wait, and whose turn it is.

use std::collections::HashMap;

use super::State;
use crate::ids::{MessageId, OrgId};
use crate::message::{MESSAGES_OF_OPERATOR_PER_TURN, Message};

impl State {
    /// A message that waits.
    pub(crate) fn message(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(&id)
    }

    /// How many messages wait; of one organisation, or in all.
    pub(crate) fn messages_waiting(&self, org: Option<&OrgId>) -> usize {
        let of = |org| self.messages.values().filter(move |m| m.org.as_ref() == Some(org));
        org.map_or(self.messages.len(), |org| of(org).count())
    }

    /// Messages that are due, turn by turn: in each turn the oldest of every organisation that
    /// was not in an earlier one, and a few of the operator's before them. A receiver that takes
    /// nothing fills no list with what waits for it.
    pub(crate) fn messages_due(&self, at_ms: u64) -> impl Iterator<Item = &Message> {
        let due = self.messages_due.iter().take_while(move |(due, _)| *due <= at_ms);
        let mut taken: HashMap<Option<&OrgId>, usize> = HashMap::new();
        let mut turns: Vec<(usize, bool, &Message)> = due
            .filter_map(|(_, id)| self.messages.get(id))
            .map(|message| {
                let org = message.org.as_ref();
                let before = taken.entry(org).or_default();
                let per_turn = org.map_or(MESSAGES_OF_OPERATOR_PER_TURN, |_| 1);
                let turn = before.checked_div(per_turn).unwrap_or(0);
                *before = before.saturating_add(1);
                (turn, org.is_some(), message)
            })
            .collect();
        // The sort keeps the order of those that are equal: oldest first.
        turns.sort_by_key(|(turn, is_of_org, _)| (*turn, *is_of_org));
        turns.into_iter().map(|(_, _, message)| message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::document::Document;

    #[test]
    fn nobody_waits_for_the_messages_of_another() {
        let mut state = State::default();
        let mut add = |org: Option<&str>, count: u128, due_at_ms: u64| {
            for number in 0..count {
                let message = Message {
                    id: MessageId::from_uuid(Uuid::from_u128(
                        u128::from(due_at_ms) * 1000 + number,
                    )),
                    org: org.map(OrgId::new),
                    topic: "balance.low".to_owned(),
                    body: Value::Null,
                    created_at_ms: 0,
                    attempts: 0,
                    due_at_ms,
                };
                state.remember(Document::Message { message, done: false });
            }
        };
        add(Some("slow"), 100, 1);
        add(Some("quick"), 2, 2);
        add(None, 9, 3);
        add(Some("later"), 1, 4);
        let due = |at_ms| {
            let due = state.messages_due(at_ms);
            let names = due.map(|message| message.org.as_ref().map_or("operator", OrgId::as_str));
            names.take(14).collect::<Vec<_>>()
        };
        let mut expected = vec!["operator"; MESSAGES_OF_OPERATOR_PER_TURN];
        expected.extend(["slow", "quick", "operator", "slow", "quick", "slow"]);
        assert_eq!(due(3), expected);
        assert_eq!(due(1), ["slow"; 14]);
        assert_eq!(state.messages_due(4).count(), 112);
    }
}
