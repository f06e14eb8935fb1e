//! The tables as columns: one array for each column, so that a table takes many rows at once.

use tokio_postgres::types::ToSql;

use super::values::Id;

/// The values of a statement's parameters.
pub(super) type Params<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// A table's rows as columns, with the names and types that SQL has for them.
macro_rules! columns {
    ($table:ident of $row:ident { $($column:ident: $rust:ty = $sql:literal),+ $(,)? }) => {
        pub(super) struct $row { $(pub(super) $column: $rust),+ }

        #[derive(Debug, Default)]
        pub(super) struct $table { rows: usize, $($column: Vec<$rust>),+ }

        impl $table {
            pub(super) fn push(&mut self, row: $row) {
                self.rows = self.rows.saturating_add(1);
                $(self.$column.push(row.$column);)+
            }
        }

        impl Columns for $table {
            const COLUMNS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($column), $sql)),+];

            fn rows(&self) -> i64 {
                i64::try_from(self.rows).unwrap_or(i64::MAX)
            }

            fn params(&self) -> Params<'_> {
                vec![$(&self.$column),+]
            }
        }
    };
}

/// Rows of one table, column by column.
pub(super) trait Columns {
    /// Names and SQL types.
    const COLUMNS: &'static [(&'static str, &'static str)];

    fn rows(&self) -> i64;
    fn params(&self) -> Params<'_>;

    /// `(SELECT unnest($1::bigint[]) AS number, ...) AS new`: the rows inside a statement. All
    /// arrays are as long as each other, and are taken apart in step. (As a function behind FROM,
    /// `unnest` would first copy every array to a table of its own.)
    fn unnest() -> String {
        let numbered = (1_u32..).zip(Self::COLUMNS);
        let arrays: Vec<String> = numbered
            .map(|(number, (name, sql))| format!("unnest(${number}::{sql}[]) AS {name}"))
            .collect();
        format!("(SELECT {}) AS new", arrays.join(", "))
    }

    fn names() -> String {
        let names: Vec<&str> = Self::COLUMNS.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// The parameter after the columns.
    fn next_param() -> usize {
        Self::COLUMNS.len().saturating_add(1)
    }

    /// A statement that adds the rows to a table.
    fn insert(table: &str) -> String {
        format!("INSERT INTO {table} ({}) SELECT * FROM {}", Self::names(), Self::unnest())
    }
}

columns!(NameRows of NameRow { id: i32 = "integer", name: String = "text" });
columns!(NewAccounts of NewAccount {
    number: i32 = "integer",
    name: String = "text",
    asset: &'static str = "text",
    debits_must_not_exceed_credits: bool = "boolean",
    debits_posted: i64 = "bigint",
    credits_posted: i64 = "bigint",
    debits_held: i64 = "bigint",
    credits_held: i64 = "bigint",
});
columns!(ChangedAccounts of ChangedAccount {
    number: i32 = "integer",
    debits_posted: i64 = "bigint",
    credits_posted: i64 = "bigint",
    debits_held: i64 = "bigint",
    credits_held: i64 = "bigint",
    debits_posted_before: i64 = "bigint",
    credits_posted_before: i64 = "bigint",
    debits_held_before: i64 = "bigint",
    credits_held_before: i64 = "bigint",
});
columns!(TransferRows of TransferRow {
    number: i64 = "bigint",
    purpose: i16 = "smallint",
    debit: i32 = "integer",
    credit: i32 = "integer",
    amount: i64 = "bigint",
});
columns!(BatchRows of BatchRow { first_transfer: i64 = "bigint", at_ms: i64 = "bigint" });
columns!(OpenHolds of OpenHold {
    org: i32 = "integer",
    call: Id = "uuid",
    key: i32 = "integer",
    subject: i32 = "integer",
    pinned: i32 = "integer",
    amount: i64 = "bigint",
    price_version: i64 = "bigint",
    lots: Option<String> = "text",
    created_at_ms: i64 = "bigint",
    expires_at_ms: i64 = "bigint",
});
columns!(ClosedHolds of ClosedHold { org: i32 = "integer", call: Id = "uuid" });
columns!(CallRows of CallColumns {
    org: i32 = "integer",
    call: Id = "uuid",
    ended: i16 = "smallint",
    key: i32 = "integer",
    subject: i32 = "integer",
    pinned: i32 = "integer",
    held: i64 = "bigint",
    amount: i64 = "bigint",
    price_version: i64 = "bigint",
    usage: Option<String> = "text",
    ending: Option<i16> = "smallint",
    refusal: Option<String> = "text",
    held_at_ms: i64 = "bigint",
    ttl_ms: i64 = "bigint",
    ended_at_ms: i64 = "bigint",
    first_transfer: i64 = "bigint",
    transfers: i32 = "integer",
    lots: Option<String> = "text",
});
columns!(EntryRows of EntryColumns {
    number: i64 = "bigint",
    op: String = "text",
    by_whom: String = "text",
    org: Option<i32> = "integer",
    act: String = "text",
    digest: Vec<u8> = "bytea",
    answer: String = "text",
    at_ms: i64 = "bigint",
    first_transfer: i64 = "bigint",
    transfers: i32 = "integer",
});
columns!(DocumentRows of DocumentRow {
    kind: &'static str = "text",
    id: String = "text",
    live: bool = "boolean",
    body: String = "text",
});
columns!(BookRows of BookRow {
    version: i64 = "bigint",
    effective_at_ms: i64 = "bigint",
    book: String = "text",
});
columns!(UsageRows of UsageColumns {
    org: i32 = "integer",
    day: i32 = "integer",
    key: i32 = "integer",
    subject: i32 = "integer",
    model: i32 = "integer",
    calls: i64 = "bigint",
    input_tokens: i64 = "bigint",
    cached_input_tokens: i64 = "bigint",
    output_tokens: i64 = "bigint",
    compute_micros: i64 = "bigint",
    fuel: i64 = "bigint",
    egress_bytes: i64 = "bigint",
    cost: i64 = "bigint",
});
columns!(EarningsRows of EarningsColumns {
    org: i32 = "integer",
    day: i32 = "integer",
    role: i16 = "smallint",
    subject: i32 = "integer",
    calls: i64 = "bigint",
    amount: i64 = "bigint",
});
