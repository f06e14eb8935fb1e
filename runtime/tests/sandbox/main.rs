//! The sandbox from outside: real guests, hostile ones among them, and what the host answers.

/// Calls, budgets and logs for tests.
#[cfg(test)]
mod support;

/// A small deterministic model behind the bridge.
#[cfg(test)]
mod echo;

/// A budget that keeps book.
#[cfg(test)]
mod purse;

/// Plain requests and answers.
#[cfg(test)]
mod http;

/// Guests that misbehave.
#[cfg(test)]
mod hostile;

/// Guests that ask models.
#[cfg(test)]
mod models;

/// Guests of older versions of `wasi:nn`.
#[cfg(test)]
mod stateful;

/// Core modules that are programs.
#[cfg(test)]
mod commands;

/// The functions that core modules import, and what they must not be led to do.
#[cfg(test)]
mod core_abi;

/// Guests and uploads made of random numbers.
#[cfg(test)]
mod random;

/// Instances that answer more than one request.
#[cfg(test)]
mod reuse;

/// Guests whose computing is counted in fuel.
#[cfg(test)]
mod fuel;

/// Components of WASI 0.3.
#[cfg(test)]
mod services;

/// How the texts of hostile guests become components.
#[cfg(test)]
mod guest_text;
/// A folder of hostile guests.
#[cfg(test)]
mod guests;

/// Uploads that are refused, and components written by hand.
#[cfg(test)]
mod uploads;

/// Guests on the real inference engine, with the bundled model.
#[cfg(test)]
mod real;
