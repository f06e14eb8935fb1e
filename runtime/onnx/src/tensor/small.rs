//! Numbers of eight bits and fewer, as ONNX defines them ("Float stored in 8 bits", "4 bit types").

use super::Kind;

/// A floating-point format of at most eight bits.
#[derive(Clone, Copy)]
struct Format {
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
    /// Whether the highest code of the exponent has infinities, as IEEE 754 does.
    has_infinity: bool,
    /// Whether minus zero is the one code that is not a number ("FNUZ").
    is_nuz: bool,
    has_nan: bool,
}

fn format(kind: Kind) -> Option<Format> {
    let of = |exponent_bits, mantissa_bits, bias| Format {
        exponent_bits,
        mantissa_bits,
        bias,
        has_infinity: false,
        is_nuz: false,
        has_nan: true,
    };
    Some(match kind {
        Kind::F8E4M3Fn => of(4, 3, 7),
        Kind::F8E4M3FnUz => Format { is_nuz: true, ..of(4, 3, 8) },
        Kind::F8E5M2 => Format { has_infinity: true, ..of(5, 2, 15) },
        Kind::F8E5M2FnUz => Format { is_nuz: true, ..of(5, 2, 16) },
        Kind::F4E2M1 => Format { has_nan: false, ..of(2, 1, 1) },
        _ => return None,
    })
}

impl Format {
    fn sign(self) -> u8 {
        1 << (self.exponent_bits + self.mantissa_bits)
    }

    fn nan(self) -> u8 {
        match (self.is_nuz, self.has_infinity) {
            (true, _) => self.sign(),
            (false, true) => self.sign() - 2,
            (false, false) => self.sign() - 1,
        }
    }

    /// A format without a code for it has minus zero in its place, as the specification's own code does.
    fn signed_nan(self, sign: u8) -> u8 {
        match (self.has_nan, self.is_nuz) {
            (false, _) => self.sign(),
            (true, true) => self.nan(),
            (true, false) => self.nan() | sign,
        }
    }

    /// The code of the largest number.
    fn largest(self) -> u8 {
        match (self.is_nuz, self.has_infinity, self.has_nan) {
            (true, ..) | (_, _, false) => self.sign() - 1,
            (false, true, true) => self.infinity() - 1,
            (false, false, true) => self.sign() - 2,
        }
    }

    fn infinity(self) -> u8 {
        ((1 << self.exponent_bits) - 1) << self.mantissa_bits
    }

    fn decode(self, code: u8) -> f32 {
        let magnitude = code & (self.sign() - 1);
        if self.is_nan(code) {
            return f32::NAN;
        }
        let negative = code & self.sign() != 0;
        let value = if self.has_infinity && magnitude == self.infinity() {
            f32::INFINITY
        } else {
            self.value(magnitude)
        };
        if negative { -value } else { value }
    }

    fn is_nan(self, code: u8) -> bool {
        let magnitude = code & (self.sign() - 1);
        match (self.is_nuz, self.has_infinity) {
            (true, _) => code == self.sign(),
            (false, true) => magnitude > self.infinity(),
            (false, false) => self.has_nan && magnitude == self.sign() - 1,
        }
    }

    fn value(self, magnitude: u8) -> f32 {
        let mantissa = magnitude & ((1 << self.mantissa_bits) - 1);
        let exponent = i32::from(magnitude >> self.mantissa_bits);
        let unit = 2f32.powi(-i32::try_from(self.mantissa_bits).unwrap_or(0));
        match exponent {
            0 => f32::from(mantissa) * unit * 2f32.powi(1 - self.bias),
            _ => (1.0 + f32::from(mantissa) * unit) * 2f32.powi(exponent - self.bias),
        }
    }

    /// To the nearest, ties to even. What is too large becomes the largest number where it
    /// `saturates`, and otherwise infinity, or no number.
    fn encode(self, value: f32, saturates: bool) -> u8 {
        let sign = if value.is_sign_negative() { self.sign() } else { 0 };
        if value.is_nan() {
            return self.signed_nan(sign);
        }
        let largest = self.largest();
        let magnitude = value.abs();
        let nearest = if magnitude.is_infinite() { None } else { self.nearest(magnitude, largest) };
        let code = match nearest {
            Some(0) if self.is_nuz => return 0,
            Some(code) => code,
            None if saturates || !self.has_nan => largest,
            None if self.has_infinity => self.infinity(),
            None => return self.signed_nan(sign),
        };
        sign | code
    }

    /// `None` beyond the largest number, rounding included.
    fn nearest(self, magnitude: f32, largest: u8) -> Option<u8> {
        let above = (0..=largest).find(|code| self.value(*code) >= magnitude);
        let Some(above) = above else {
            let step = self.value(largest) - self.value(largest - 1);
            let beyond = magnitude - self.value(largest);
            let stays = beyond < step / 2.0 || (beyond == step / 2.0 && largest.is_multiple_of(2));
            return stays.then_some(largest);
        };
        let Some(below) = above.checked_sub(1) else { return Some(above) };
        let (up, down) = (self.value(above) - magnitude, magnitude - self.value(below));
        let takes_below = down < up || (down == up && below % 2 == 0);
        Some(if takes_below { below } else { above })
    }
}

/// The value of a code.
pub(crate) fn decode(kind: Kind, code: u8) -> f32 {
    match (format(kind), kind) {
        (Some(format), _) => format.decode(code),
        // Powers of two, with no sign.
        (None, Kind::F8E8M0) if code == 0xff => f32::NAN,
        (None, Kind::F8E8M0) => 2f64.powi(i32::from(code) - 127) as f32,
        (None, Kind::I4) => f32::from(((code << 4) as i8) >> 4),
        (None, Kind::I2) => f32::from(((code << 6) as i8) >> 6),
        (None, _) => f32::from(code),
    }
}

/// The code of a value.
pub(crate) fn encode(kind: Kind, value: f32, saturates: bool) -> u8 {
    match (format(kind), kind) {
        (Some(format), _) => format.encode(value, saturates),
        (None, Kind::F8E8M0) => power_of_two(value, saturates),
        (None, Kind::I4) => (value as i64 & 0xf) as u8,
        (None, Kind::U4) => (value as i64 & 0xf) as u8,
        (None, Kind::I2 | Kind::U2) => (value as i64 & 0x3) as u8,
        (None, _) => value as u8,
    }
}

/// Rounded up, as the specification's default has it.
fn power_of_two(value: f32, saturates: bool) -> u8 {
    if value.is_nan() {
        return 0xff;
    }
    if value.is_infinite() {
        return if saturates { 0xfe } else { 0xff };
    }
    let magnitude = f64::from(value.abs());
    if magnitude == 0.0 {
        return 0;
    }
    let exponent = magnitude.log2().ceil() as i32 + 127;
    match exponent {
        ..=0 => 0,
        255.. => 0xfe,
        exponent => exponent as u8,
    }
}
