//! Tensors of any rank and type, as graphs pass them from node to node.

use std::sync::Arc;

use half::{bf16, f16};

use crate::bounds;
use crate::error::Outcome;

/// Numbers of eight bits and fewer.
pub(crate) mod small;
/// Between types.
mod convert;
/// From and to the file's form.
pub(crate) mod stored;

pub(crate) use convert::from_floats;

/// Most elements of one tensor, whatever the limits of a run.
pub(crate) const ELEMENTS_MAX: usize = 1 << 30;
/// Most dimensions of one tensor.
const RANK_MAX: usize = 64;
/// How deep lists may lie within each other.
const DEPTH_MAX: usize = 8;
/// What a part of a list takes beside its elements, as elements.
const PART_WEIGHT: usize = 32;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it: kind and bits")]
pub enum Kind {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    Text,
    F8E4M3Fn,
    F8E4M3FnUz,
    F8E5M2,
    F8E5M2FnUz,
    F8E8M0,
    F4E2M1,
    U4,
    I4,
    U2,
    I2,
}

impl Kind {
    /// Bytes of one element in memory; of a text those of its handle.
    pub(crate) fn bytes(self) -> u64 {
        use Kind::{Bf16, F16, F32, F64, I16, I32, I64, Text, U16, U32, U64};
        match self {
            F64 | I64 | U64 => 8,
            F32 | I32 | U32 => 4,
            F16 | Bf16 | I16 | U16 => 2,
            Text => 24,
            _ => 1,
        }
    }

    pub(crate) fn is_float(self) -> bool {
        use Kind::{Bf16, F4E2M1, F8E4M3Fn, F8E4M3FnUz, F8E5M2, F8E5M2FnUz, F8E8M0, F16, F32, F64};
        matches!(
            self,
            F32 | F64 | F16 | Bf16 | F8E4M3Fn | F8E4M3FnUz | F8E5M2 | F8E5M2FnUz | F8E8M0 | F4E2M1
        )
    }
}

/// Elements, one after the other.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "as `Kind` has them")]
pub enum Data {
    F32(Arc<Vec<f32>>),
    F64(Arc<Vec<f64>>),
    F16(Arc<Vec<f16>>),
    Bf16(Arc<Vec<bf16>>),
    I8(Arc<Vec<i8>>),
    I16(Arc<Vec<i16>>),
    I32(Arc<Vec<i32>>),
    I64(Arc<Vec<i64>>),
    U8(Arc<Vec<u8>>),
    U16(Arc<Vec<u16>>),
    U32(Arc<Vec<u32>>),
    U64(Arc<Vec<u64>>),
    Bool(Arc<Vec<bool>>),
    Text(Arc<Vec<String>>),
    /// Numbers of eight bits and fewer, one code in each byte.
    Small(Kind, Arc<Vec<u8>>),
}

/// A type that elements have.
pub(crate) trait Element: Clone + Default + PartialEq + Send + Sync + 'static {
    fn data(elements: Vec<Self>) -> Data;
    fn of(data: &Data) -> Option<&[Self]>;
}

macro_rules! elements {
    ($($type:ty => $variant:ident),*) => {
        $(impl Element for $type {
            fn data(elements: Vec<Self>) -> Data {
                Data::$variant(Arc::new(elements))
            }

            fn of(data: &Data) -> Option<&[Self]> {
                match data {
                    Data::$variant(elements) => Some(elements),
                    _ => None,
                }
            }
        })*

        impl Data {
            /// The type of the elements.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant,)*
                    Self::Small(kind, _) => *kind,
                }
            }

            pub(crate) fn len(&self) -> usize {
                match self {
                    $(Self::$variant(elements) => elements.len(),)*
                    Self::Small(_, codes) => codes.len(),
                }
            }

            /// Elements by their places.
            fn taken(&self, places: &[usize]) -> Self {
                match self {
                    $(Self::$variant(all) => Self::$variant(Arc::new(taken(all, places))),)*
                    Self::Small(kind, all) => Self::Small(*kind, Arc::new(taken(all, places))),
                }
            }

            fn append(&mut self, other: &Self) -> Outcome<()> {
                match (self, other) {
                    $((Self::$variant(to), Self::$variant(from)) => {
                        Arc::make_mut(to).extend_from_slice(from);
                    })*
                    (Self::Small(kind, to), Self::Small(other, from)) if kind == other => {
                        Arc::make_mut(to).extend_from_slice(from);
                    }
                    (one, other) => {
                        let (one, other) = (one.kind(), other.kind());
                        return Err(format!("{one:?} and {other:?} do not go together"));
                    }
                }
                Ok(())
            }
        }
    };
}
elements!(
    f32 => F32, f64 => F64, f16 => F16, bf16 => Bf16, i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64, bool => Bool, String => Text
);

/// Elements in rows, of any number of dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// How many elements a shape has, where that is not too many. A size of 0 does not hide the others:
/// each of them is one that can be gone through.
pub(crate) fn count(shape: &[usize]) -> Outcome<usize> {
    if shape.len() > RANK_MAX {
        return Err(format!("a tensor of {} dimensions has more than {RANK_MAX}", shape.len()));
    }
    let most = bounds::elements_max();
    let product =
        shape.iter().try_fold(1usize, |product, size| product.checked_mul((*size).max(1)));
    match product {
        Some(elements) if elements <= most => Ok(if shape.contains(&0) { 0 } else { elements }),
        _ => Err(format!("a tensor of the shape {shape:?} has more than {most} elements")),
    }
}

fn taken<T: Clone>(all: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|place| all[*place].clone()).collect()
}

/// Whether there is room for so many tensors, whatever is in them.
pub(crate) fn count_parts(parts: usize) -> Outcome<()> {
    count(&[parts, PART_WEIGHT]).map(drop)
}

/// A number that is a size.
pub(crate) fn as_size(size: i64) -> Outcome<usize> {
    usize::try_from(size).map_err(|_error| format!("{size} is no size"))
}

/// How far apart neighbours are along each dimension.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for at in (0..shape.len().saturating_sub(1)).rev() {
        strides[at] = strides[at + 1].saturating_mul(shape[at + 1]);
    }
    strides
}

impl Tensor {
    /// Elements in a shape.
    pub(crate) fn new<T: Element>(shape: Vec<usize>, elements: Vec<T>) -> Outcome<Self> {
        Self::of_data(shape, T::data(elements))
    }

    pub(crate) fn of_data(shape: Vec<usize>, data: Data) -> Outcome<Self> {
        let (expected, there) = (count(&shape)?, data.len());
        bounds::work(&[there])?;
        if expected != there {
            return Err(format!("{there} elements do not fill the shape {shape:?}"));
        }
        Ok(Self { shape, data })
    }

    /// One element without a dimension.
    pub(crate) fn scalar<T: Element>(element: T) -> Self {
        Self { shape: Vec::new(), data: T::data(vec![element]) }
    }

    pub(crate) fn vector<T: Element>(elements: Vec<T>) -> Self {
        Self { shape: vec![elements.len()], data: T::data(elements) }
    }

    /// Sizes of the dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    pub(crate) fn into_data(self) -> Data {
        self.data
    }

    /// The type of the elements.
    pub fn kind(&self) -> Kind {
        self.data.kind()
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// Bytes of the elements.
    pub(crate) fn bytes(&self) -> u64 {
        (self.len() as u64).saturating_mul(self.kind().bytes())
    }

    /// Of texts.
    fn text_bytes(&self) -> usize {
        match &self.data {
            Data::Text(all) => all.iter().map(String::len).sum(),
            _ => 0,
        }
    }

    /// The elements, where they are of this type.
    pub(crate) fn elements<T: Element>(&self) -> Option<&[T]> {
        T::of(&self.data)
    }

    /// The same elements in another shape.
    pub(crate) fn reshaped(&self, shape: Vec<usize>) -> Outcome<Self> {
        Self::of_data(shape, self.data.clone())
    }

    /// Elements by their places, in a new shape.
    pub(crate) fn take(&self, shape: Vec<usize>, places: &[usize]) -> Outcome<Self> {
        count(&shape)?;
        if let Data::Text(all) = &self.data {
            bounds::texts(places.iter().map(|place| all[*place].len()))?;
        }
        Self::of_data(shape, self.data.taken(places))
    }

    /// A dimension, counted from the end where it is negative.
    pub(crate) fn axis(&self, axis: i64) -> Outcome<usize> {
        axis_of(axis, self.rank())
    }

    /// Several of them, each once.
    pub(crate) fn axes(&self, axes: &[i64]) -> Outcome<Vec<usize>> {
        let mut seen = vec![false; self.rank()];
        let once = |axis: &i64| {
            let place = self.axis(*axis)?;
            match std::mem::replace(&mut seen[place], true) {
                false => Ok(place),
                true => Err(format!("the dimension {axis} is named twice")),
            }
        };
        axes.iter().map(once).collect()
    }

    /// Elements of several tensors of one type, one after the other.
    pub(crate) fn joined(shape: Vec<usize>, parts: &[&Tensor]) -> Outcome<Self> {
        let Some((first, rest)) = parts.split_first() else {
            return Err("there is nothing to join".to_owned());
        };
        count(&shape)?;
        bounds::texts(parts.iter().map(|part| part.text_bytes()))?;
        let mut data = first.data.clone();
        for part in rest {
            data.append(&part.data)?;
        }
        Self::of_data(shape, data)
    }
}

/// A dimension, counted from the end where it is negative.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Outcome<usize> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let place = if axis < 0 { axis.saturating_add(signed) } else { axis };
    match usize::try_from(place) {
        Ok(place) if place < rank => Ok(place),
        _ => Err(format!("there is no dimension {axis} of {rank}")),
    }
}

/// What nodes pass on.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor.
    Tensor(Tensor),
    /// A list of values.
    Sequence(Vec<Value>),
    /// A value that may not be there.
    Optional(Option<Box<Value>>),
}

impl Value {
    /// How many elements it has, texts with their bytes, and each part of a list as some more.
    pub(crate) fn weight(&self) -> Outcome<usize> {
        self.weight_within(DEPTH_MAX)
    }

    fn weight_within(&self, depth: usize) -> Outcome<usize> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("lists lie deeper than {DEPTH_MAX} within each other"));
        };
        let sum = |sum: usize, value: &Self| Ok(sum.saturating_add(value.weight_within(depth)?));
        match self {
            Self::Tensor(tensor) => Ok(tensor.len() + tensor.text_bytes()),
            Self::Sequence(values) => {
                values.iter().try_fold(values.len().saturating_mul(PART_WEIGHT), sum)
            }
            Self::Optional(value) => value.iter().map(|value| &**value).try_fold(PART_WEIGHT, sum),
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}
