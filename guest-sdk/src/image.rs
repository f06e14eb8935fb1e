use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};

use crate::{Error, Tensor};

/// Pixels of a side of a picture that is read.
const SIDE_MAX: u32 = 8_192;
/// Bytes that a decoder may take.
const BYTES_MAX: u64 = 64 << 20;

/// How a model wants a picture: a tensor `[1, channels, height, width]` of numbers from 0 to 1, from
/// which `mean` is taken and which are divided by `deviation`, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Grey, one channel, instead of red, green and blue.
    pub grey: bool,
    /// What is taken from each channel.
    pub mean: [f32; 3],
    /// What each channel is divided by.
    pub deviation: [f32; 3],
}

impl Picture {
    /// Colours from 0 to 1.
    #[must_use]
    pub fn rgb(width: u32, height: u32) -> Self {
        Self { width, height, grey: false, mean: [0.0; 3], deviation: [1.0; 3] }
    }

    /// Grey values from 0 to 1.
    #[must_use]
    pub fn grey(width: u32, height: u32) -> Self {
        Self { grey: true, ..Self::rgb(width, height) }
    }

    /// Colours as networks that were trained on `ImageNet` take them.
    #[must_use]
    pub fn imagenet(width: u32, height: u32) -> Self {
        let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        Self { mean, deviation, ..Self::rgb(width, height) }
    }

    /// A PNG or JPEG file, decoded and scaled to size.
    ///
    /// # Errors
    /// [`Error::Invalid`] says why it is no picture; [`Error::TooLarge`] if it is too large for one.
    pub fn tensor(&self, file: &[u8]) -> Result<Tensor, Error> {
        let invalid =
            |error: &dyn std::fmt::Display| Error::Invalid(format!("the picture: {error}"));
        let mut reader = ImageReader::new(std::io::Cursor::new(file))
            .with_guessed_format()
            .map_err(|error| invalid(&error))?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDE_MAX);
        limits.max_image_height = Some(SIDE_MAX);
        limits.max_alloc = Some(BYTES_MAX);
        reader.limits(limits);
        let picture = reader.decode().map_err(|error| match error {
            image::ImageError::Limits(error) => Error::TooLarge(format!("the picture: {error}")),
            other => invalid(&other),
        })?;
        Ok(self.of(&picture))
    }

    fn of(&self, picture: &DynamicImage) -> Tensor {
        let same = (picture.width(), picture.height()) == (self.width, self.height);
        let scaled = match same {
            true => picture.clone(),
            false => picture.resize_exact(self.width, self.height, FilterType::Triangle),
        };
        let (channels, bytes) = match self.grey {
            true => (1, scaled.into_luma8().into_raw()),
            false => (3, scaled.into_rgb8().into_raw()),
        };
        let value = |channel: usize, byte: &u8| {
            (f32::from(*byte) / 255.0 - self.mean[channel]) / self.deviation[channel]
        };
        let plane = |channel: usize| {
            bytes.iter().skip(channel).step_by(channels).map(move |byte| value(channel, byte))
        };
        let values: Vec<f32> = (0..channels).flat_map(plane).collect();
        let channels = if self.grey { 1 } else { 3 };
        Tensor::f32(&[1, channels, self.height, self.width], &values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_planes_of_numbers() {
        let mut png = Vec::new();
        let pixels = image::RgbImage::from_fn(2, 1, |x, _| image::Rgb([255, 0, 51 * x as u8]));
        pixels.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        let tensor = Picture::rgb(2, 1).tensor(&png).unwrap();
        assert_eq!(tensor.dimensions(), [1, 3, 1, 2]);
        assert_eq!(tensor.to_f32().unwrap(), [1.0, 1.0, 0.0, 0.0, 0.0, 0.2]);
        assert_eq!(Picture::grey(4, 4).tensor(&png).unwrap().dimensions(), [1, 1, 4, 4]);
        assert!(Picture::rgb(2, 1).tensor(b"not a picture").is_err());
    }
}
