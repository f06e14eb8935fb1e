use super::panel;
use crate::quant::{Format, Scheme, Steps};

/// A format known when the kernel is compiled.
pub(crate) trait Layout {
    /// How the format's blocks are built.
    const SCHEME: Scheme;
    /// Bytes of a panel for one block of the format.
    const SPAN_BYTES: usize = panel::span_bytes(&Self::SCHEME);
    /// Bytes of a panel before the blocks of 32 columns of a span.
    const HEADER_BYTES: usize = panel::header_bytes(&Self::SCHEME);
    /// Bytes of 32 columns.
    const BLOCK_BYTES: usize = panel::block_bytes(&Self::SCHEME);
    /// Of these, what is before the codes.
    const STEPS_BYTES: usize = panel::steps_bytes(&Self::SCHEME);
    /// Scales of 32 columns of a row.
    const GROUPS: usize = panel::COLUMNS / Self::SCHEME.group;
    /// Whether groups have scales of their own.
    const STEPS: bool = !matches!(Self::SCHEME.steps, Steps::One);
    /// Whether groups have offsets.
    const OFFSETS: bool = Self::SCHEME.offset_at.is_some();
    /// The bias is a power of two, or zero.
    const BIAS_BITS: u32 = Self::SCHEME.bias.trailing_zeros();
}

/// The format as a type.
macro_rules! layouts {
    ($($name:ident),*) => {
        $(
            pub(crate) struct $name;
            impl Layout for $name {
                const SCHEME: Scheme = Format::$name.scheme();
            }
        )*

        /// Evaluates an expression with the type `$layout` of a format.
        macro_rules! with_layout {
            ($format:expr, $layout:ident => $body:expr) => {
                match $format {
                    $($crate::quant::Format::$name => {
                        type $layout = $crate::linear::layout::$name;
                        $body
                    })*
                }
            };
        }
        pub(crate) use with_layout;
    };
}
layouts!(Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K);
