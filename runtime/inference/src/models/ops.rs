//! Each operation twice: a kernel attached to burn's Flex backend, and burn's own operations,
//! which are the reference in tests and the way on any other backend.

use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::module::Param;
use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};
use emberbox_kernels::attention::{CacheKind, Heads, Span};

use super::config::Activation;
use super::kv::LayerCache;
use linear::Packing;

/// Those of encoders.
pub(crate) mod encoder;
/// By the kernels.
mod kernels;
/// Linear layers.
pub(crate) mod linear;
/// By burn's own operations.
mod reference;

/// Which form of the operations a model uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Ours, on Flex.
    Kernels,
    /// burn's.
    #[cfg_attr(
        not(any(test, feature = "cuda", feature = "wgpu")),
        expect(dead_code, reason = "this build knows no device without kernels")
    )]
    Reference,
}

/// What attention does in one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Attention {
    pub(crate) heads: Heads,
    /// Factor of the products of queries and keys.
    pub(crate) scale: f32,
    pub(crate) window: Option<usize>,
    pub(crate) softcap: Option<f32>,
    /// Whether queries and keys turn.
    pub(crate) rotary: bool,
    /// Widths of the norms of queries and of keys; zero where there is none.
    pub(crate) norms: [usize; 2],
    pub(crate) epsilon: f32,
    pub(crate) cache: CacheKind,
}

/// A layer's tensors for attention.
pub(crate) struct AttentionTensors<'a> {
    /// `[tokens, (query + 2 kv) dims]`.
    pub(crate) qkv: Tensor<2>,
    /// `[2, positions, rotary dims / 2]`, cosines first.
    pub(crate) angles: &'a Tensor<3>,
    /// Weights of the norm of queries, then of keys.
    pub(crate) norms: &'a Tensor<1>,
}

#[backend_extension(Flex)]
pub(crate) trait DecoderOps: Backend {
    fn linear(x: FloatTensor<Self>, w: IntTensor<Self>, p: Arc<Packing>) -> FloatTensor<Self>;
    fn rows(w: IntTensor<Self>, ids: IntTensor<Self>, p: Arc<Packing>) -> FloatTensor<Self>;
    fn norm(x: FloatTensor<Self>, w: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;
    fn gate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    fn attend(
        qkv: FloatTensor<Self>,
        cache: IntTensor<Self>,
        angles: FloatTensor<Self>,
        norms: FloatTensor<Self>,
        step: (Attention, Arc<Vec<Span>>),
    ) -> (FloatTensor<Self>, IntTensor<Self>);
}

/// A tensor of bytes around memory as it is: from a `Vec<u8>`, which may lie anywhere, burn would
/// copy them.
pub(crate) fn bytes(words: Vec<u128>, device: &Device) -> Tensor<1, Int> {
    let bytes = Bytes::from_elems(words);
    let shape = [bytes.len()];
    Tensor::from_data(TensorData::from_bytes(bytes, shape, DType::U8), (device, DType::U8))
}

/// Root-mean-square normalisation of `[tokens, width]`.
pub(crate) fn norm(x: Tensor<2>, w: &Param<Tensor<1>>, epsilon: f32, path: Path) -> Tensor<2> {
    match path {
        Path::Kernels => Tensor::from_dispatch(Dispatch::norm(
            x.into_dispatch(),
            w.val().into_dispatch(),
            epsilon,
        )),
        Path::Reference => reference::norm(x, w.val(), epsilon),
    }
}

/// `[tokens, 2 width]`, gate before up, to `[tokens, width]`.
pub(crate) fn gate(x: Tensor<2>, function: Activation, path: Path) -> Tensor<2> {
    match path {
        Path::Kernels => Tensor::from_dispatch(Dispatch::gate(x.into_dispatch(), function)),
        Path::Reference => reference::gate(&x, function),
    }
}

/// Causal attention over the cache; gives `[tokens, query dims]`. A cache of kernels' layout goes
/// to them, one of tensors to burn's operations.
pub(crate) fn attend(
    tensors: AttentionTensors<'_>,
    cache: LayerCache,
    plan: Attention,
    spans: &Arc<Vec<Span>>,
) -> (Tensor<2>, LayerCache) {
    let cache = match cache {
        LayerCache::Plain(cache) => return reference::attend(&tensors, *cache, plan, spans),
        LayerCache::Packed(cache) => cache,
    };
    let (out, cache) = Dispatch::attend(
        tensors.qkv.into_dispatch(),
        cache.into_dispatch(),
        tensors.angles.clone().into_dispatch(),
        tensors.norms.clone().into_dispatch(),
        (plan, Arc::clone(spans)),
    );
    (Tensor::from_dispatch(out), LayerCache::Packed(Box::new(Tensor::from_dispatch(cache))))
}
