//! Rules about the tree itself. Each module holds one kind of rule as a function that returns what
//! is wrong, in sentences that say what to do. The tests run them all on this checkout, and show
//! each to fail on a small tree that breaks it.

/// Reads the checkout: its files, its manifests.
pub mod tree;

/// Which crate may know which.
pub mod dependencies;
/// Length of files, names of files, lints of every crate.
pub mod files;
/// What every example folder holds.
pub mod examples;
/// Prebuilt guests: fresh, small, and without a machine's paths inside.
pub mod prebuilt;
/// Relative links in Markdown.
pub mod links;

#[cfg(test)]
mod tests;
