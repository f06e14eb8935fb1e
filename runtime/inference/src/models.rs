//! Networks on burn, and what a file must hold to become one.

/// Encoders: texts to vectors, classes or scores.
pub(crate) mod encoder;
/// Shapes and numbers of a network, from either format.
pub(crate) mod config;
/// Names of tensors, and what families have in common.
pub(crate) mod families;
/// The keys and values of running sequences.
pub(crate) mod kv;
/// Decoders: tokens to logits.
pub(crate) mod decoder;
/// From a source to a model that can run.
pub(crate) mod load;
/// The device that models run on.
pub(crate) mod place;
/// The operations of a decoder, by kernels or by burn's own operations.
pub(crate) mod ops;
