use serde::{Deserialize, Serialize};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it: kind and bits")]
pub enum ElementKind {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    Bf16,
    F32,
    F64,
}

impl ElementKind {
    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// A dense tensor with a name: row-major, little-endian.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedTensor {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements.
    pub kind: ElementKind,
    /// Sizes of its dimensions.
    pub shape: Vec<u32>,
    /// `product(shape)` elements.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// What a graph takes or gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements, where it is one that can be passed in and out.
    pub kind: Option<ElementKind>,
    /// Sizes of its dimensions, `None` where any size will do; absent where the file says nothing.
    pub shape: Option<Vec<Option<u32>>>,
}
