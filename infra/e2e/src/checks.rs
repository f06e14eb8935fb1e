//! The checks, in the order in which a newcomer would meet what they check.

use crate::report::Report;
use crate::world::World;

/// `emberbox demo --json --exit`.
mod demo;
/// An unmodified OpenAI SDK, and the client scripts of the examples.
mod openai;
/// A killed server has everything in place when it starts again.
mod restart;
/// A server that is asked to stop finishes what it began.
mod drain;
/// Functions and models in processes of their own.
mod isolate;
/// Ledgers in PostgreSQL and in a process of their own, and invoices that print.
mod money;
/// Spans go to a collector; prompts go nowhere.
mod telemetry;
/// The README's first five minutes, typed as they stand there.
mod readme;
/// `emberbox dev`: save a file, see it served.
mod dev;
/// Guests build from their sources, to the same bytes with the same compiler.
mod guests;
/// Guests in JavaScript and Python, built by their own tools.
mod languages;

/// Runs every check that the report wants.
pub(crate) fn run(world: &World, report: &mut Report) {
    demo::run(world, report);
    openai::run(world, report);
    restart::run(world, report);
    drain::run(world, report);
    isolate::run(world, report);
    money::run(world, report);
    telemetry::run(world, report);
    readme::run(world, report);
    dev::run(world, report);
    guests::run(world, report);
    languages::run(world, report);
}
