//! What can go wrong with a graph.

/// Why a graph was not read or not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The file is damaged, or says something that cannot be.
    #[error("the graph is not valid: {0}")]
    Invalid(String),
    /// An operator that is not there, or not in this version.
    #[error("{node}: {op} of {domain} version {version} is not supported")]
    Unsupported {
        /// The node that asks for it.
        node: String,
        /// The operator.
        op: String,
        /// Its set of operators.
        domain: String,
        /// The set's version.
        version: i64,
    },
    /// A node cannot compute what it was given.
    #[error("{node}: {reason}")]
    Node {
        /// The node, by its name or its operator and output.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// The caller's inputs are not those of the graph.
    #[error("input `{name}`: {reason}")]
    Input {
        /// The input.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller has asked for the end.
    #[error("the run was stopped")]
    Stopped,
    /// A bound was reached.
    #[error("the graph is over its limit: {0}")]
    Limit(String),
}

/// What an operator says; its node is added by who runs it.
pub(crate) type Failure = String;

/// What an operator gives.
pub(crate) type Outcome<T> = Result<T, Failure>;
