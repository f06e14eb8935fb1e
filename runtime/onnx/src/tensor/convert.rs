//! Elements of one type as another. Numbers become the nearest; what does not fit an integer wraps, as
//! NumPy does it.

use half::{bf16, f16};

use super::{Data, Kind, Tensor, as_size, small};
use crate::bounds;
use crate::error::Outcome;

/// Does the same with the elements of every type that is a number of the machine's own.
macro_rules! with_numbers {
    ($data:expr, $elements:ident => $body:expr, else $other:expr) => {
        match $data {
            $crate::tensor::Data::F32($elements) => $body,
            $crate::tensor::Data::F64($elements) => $body,
            $crate::tensor::Data::I8($elements) => $body,
            $crate::tensor::Data::I16($elements) => $body,
            $crate::tensor::Data::I32($elements) => $body,
            $crate::tensor::Data::I64($elements) => $body,
            $crate::tensor::Data::U8($elements) => $body,
            $crate::tensor::Data::U16($elements) => $body,
            $crate::tensor::Data::U32($elements) => $body,
            $crate::tensor::Data::U64($elements) => $body,
            _ => $other,
        }
    };
}

impl Tensor {
    /// As floating-point numbers that hold every type but the largest integers.
    #[expect(clippy::unnecessary_cast, reason = "one text for every type")]
    pub(crate) fn floats(&self) -> Outcome<Vec<f64>> {
        bounds::work(&[self.len()])?;
        Ok(with_numbers!(&self.data, all => all.iter().map(|x| *x as f64).collect(), else {
            match &self.data {
                Data::F16(all) => all.iter().map(|x| x.to_f64()).collect(),
                Data::Bf16(all) => all.iter().map(|x| x.to_f64()).collect(),
                Data::Bool(all) => all.iter().map(|x| f64::from(u8::from(*x))).collect(),
                Data::Small(kind, all) => {
                    all.iter().map(|x| f64::from(small::decode(*kind, *x))).collect()
                }
                _ => return Err("numbers are expected, not texts".to_owned()),
            }
        }))
    }

    /// As integers; of floating-point numbers without their fraction.
    #[expect(clippy::unnecessary_cast, reason = "one text for every type")]
    pub(crate) fn integers(&self) -> Outcome<Vec<i64>> {
        bounds::work(&[self.len()])?;
        Ok(with_numbers!(&self.data, all => all.iter().map(|x| *x as i64).collect(), else {
            self.floats()?.into_iter().map(|x| x as i64).collect()
        }))
    }

    /// As sizes.
    pub(crate) fn sizes(&self) -> Outcome<Vec<usize>> {
        self.integers()?.into_iter().map(as_size).collect()
    }

    /// One number.
    pub(crate) fn number(&self) -> Outcome<f64> {
        self.floats()?.first().copied().ok_or_else(|| "a number is missing".to_owned())
    }

    pub(crate) fn integer(&self) -> Outcome<i64> {
        self.integers()?.first().copied().ok_or_else(|| "a number is missing".to_owned())
    }

    pub(crate) fn flags(&self) -> Outcome<&[bool]> {
        self.elements().ok_or_else(|| format!("Bool is expected, not {:?}", self.kind()))
    }

    /// Numbers as elements of a type.
    pub(crate) fn of_floats(kind: Kind, shape: Vec<usize>, numbers: &[f64]) -> Outcome<Self> {
        Self::of_data(shape, from_floats(kind, numbers, true)?)
    }

    /// The same for integers, which a floating-point number need not hold.
    pub(crate) fn of_integers(kind: Kind, shape: Vec<usize>, numbers: &[i64]) -> Outcome<Self> {
        let data = match kind {
            Kind::I64 => Data::I64(numbers.to_vec().into()),
            Kind::U64 => {
                Data::U64(numbers.iter().map(|x| x.cast_unsigned()).collect::<Vec<_>>().into())
            }
            Kind::I8 => Data::I8(numbers.iter().map(|x| *x as i8).collect::<Vec<_>>().into()),
            Kind::I16 => Data::I16(numbers.iter().map(|x| *x as i16).collect::<Vec<_>>().into()),
            Kind::I32 => Data::I32(numbers.iter().map(|x| *x as i32).collect::<Vec<_>>().into()),
            Kind::U8 => Data::U8(numbers.iter().map(|x| *x as u8).collect::<Vec<_>>().into()),
            Kind::U16 => Data::U16(numbers.iter().map(|x| *x as u16).collect::<Vec<_>>().into()),
            Kind::U32 => Data::U32(numbers.iter().map(|x| *x as u32).collect::<Vec<_>>().into()),
            kind => {
                let floats: Vec<f64> = numbers.iter().map(|x| *x as f64).collect();
                from_floats(kind, &floats, true)?
            }
        };
        Self::of_data(shape, data)
    }

    /// As another type, as the operator `Cast` does it.
    pub(crate) fn cast(&self, to: Kind, saturates: bool) -> Outcome<Self> {
        if to == self.kind() {
            return Ok(self.clone());
        }
        let shape = self.shape.clone();
        if to == Kind::Text {
            return Self::new(shape, self.written()?);
        }
        if let Data::Text(texts) = &self.data {
            let read = |text: &String| read(text);
            let numbers: Outcome<Vec<f64>> = texts.iter().map(read).collect();
            return Self::of_data(shape, from_floats(to, &numbers?, saturates)?);
        }
        if to == Kind::Bool {
            let flags: Vec<bool> = self.floats()?.into_iter().map(|x| x != 0.0).collect();
            return Self::new(shape, flags);
        }
        if self.kind().is_float() || to.is_float() {
            // One rounding, from what is there.
            return Self::of_data(shape, from_floats(to, &self.floats()?, saturates)?);
        }
        Self::of_integers(to, shape, &self.integers()?)
    }

    /// With the precision that sums are made in.
    pub(crate) fn wide(&self) -> Outcome<Self> {
        self.cast(Kind::F64, true)
    }

    fn written(&self) -> Outcome<Vec<String>> {
        let floats = |all: &[f64]| within(all.iter().map(|x| written(*x, x.to_string())));
        match &self.data {
            Data::F32(all) => within(all.iter().map(|x| written(f64::from(*x), x.to_string()))),
            Data::Bool(all) => {
                within(all.iter().map(|x| if *x { "True" } else { "False" }.to_owned()))
            }
            data if data.kind().is_float() => floats(&self.floats()?),
            _ => within(self.integers()?.iter().map(i64::to_string)),
        }
    }
}

/// Texts as long as there is room for them.
fn within(texts: impl Iterator<Item = String>) -> Outcome<Vec<String>> {
    let mut bytes = 0usize;
    let mut all = Vec::new();
    for text in texts {
        bytes += text.len();
        bounds::room(bytes)?;
        all.push(text);
    }
    Ok(all)
}

/// As NumPy writes it.
fn written(value: f64, plain: String) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => if value > 0.0 { "INF" } else { "-INF" }.to_owned(),
        _ => plain,
    }
}

fn read(text: &str) -> Outcome<f64> {
    match text.trim().to_ascii_lowercase().as_str() {
        "+inf" | "inf" => Ok(f64::INFINITY),
        "-inf" => Ok(f64::NEG_INFINITY),
        "nan" => Ok(f64::NAN),
        number => number.parse().map_err(|_error| format!("`{number}` is no number")),
    }
}

/// Numbers as elements of a type.
pub(crate) fn from_floats(kind: Kind, numbers: &[f64], saturates: bool) -> Outcome<Data> {
    macro_rules! made {
        ($number:ident => $element:expr) => {
            numbers.iter().map(|$number| $element).collect::<Vec<_>>().into()
        };
    }
    Ok(match kind {
        Kind::F32 => Data::F32(made!(x => *x as f32)),
        Kind::F64 => Data::F64(numbers.to_vec().into()),
        Kind::F16 => Data::F16(made!(x => f16::from_f64(*x))),
        Kind::Bf16 => Data::Bf16(made!(x => bf16::from_f64(*x))),
        Kind::I8 => Data::I8(made!(x => *x as i64 as i8)),
        Kind::I16 => Data::I16(made!(x => *x as i64 as i16)),
        Kind::I32 => Data::I32(made!(x => *x as i64 as i32)),
        Kind::I64 => Data::I64(made!(x => *x as i64)),
        Kind::U8 => Data::U8(made!(x => *x as i64 as u8)),
        Kind::U16 => Data::U16(made!(x => *x as i64 as u16)),
        Kind::U32 => Data::U32(made!(x => *x as i64 as u32)),
        Kind::U64 => Data::U64(made!(x => if *x < 0.0 { *x as i64 as u64 } else { *x as u64 })),
        Kind::Bool => Data::Bool(made!(x => *x != 0.0)),
        Kind::Text => return Err("numbers are no texts".to_owned()),
        small => {
            // A code is searched for.
            bounds::work(&[numbers.len(), 64])?;
            Data::Small(small, made!(x => small::encode(small, *x as f32, saturates)))
        }
    })
}
