use burn::tensor::Device;

use super::ops::Path;
use crate::{EncoderWeights, InferenceError};

/// GPUs, for builds that know one.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod gpu;

/// A device that is there, and the form of the operations that runs on it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) device: Device,
    pub(crate) path: Path,
    pub(crate) encoder_weights: EncoderWeights,
}

impl Place {
    /// Finds a device and computes something on it.
    pub(crate) fn open(
        choice: crate::Device,
        encoder_weights: EncoderWeights,
    ) -> Result<Self, InferenceError> {
        let wrong =
            |reason: String| InferenceError::invalid("device", format!("`{choice}`: {reason}"));
        match choice {
            crate::Device::Cpu => {
                Ok(Self { device: Device::flex(), path: Path::Kernels, encoder_weights })
            }
            crate::Device::Cuda(index) => cuda(index).map_err(wrong),
            crate::Device::Wgpu(index) => wgpu(index).map_err(wrong),
        }
    }
}

#[cfg(feature = "cuda")]
use gpu::cuda;
#[cfg(feature = "wgpu")]
use gpu::wgpu;

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Place, String> {
    Err("this build has no CUDA support; build with --features cuda".to_owned())
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_: usize) -> Result<Place, String> {
    Err("this build has no wgpu support; build with --features wgpu".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::{Device, Inference, InferenceOptions};

    fn refused(device: Device) -> String {
        let options = InferenceOptions { device, ..InferenceOptions::default() };
        Inference::new(options).err().unwrap().to_string()
    }

    /// Whatever the build, and with a GPU or without.
    #[test]
    fn an_engine_for_a_device_that_is_not_there_does_not_start() {
        for device in [Device::Cuda(9_999), Device::Wgpu(9_999)] {
            let error = refused(device);
            assert!(error.starts_with(&format!("`device`: `{device}`: ")), "{error}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_device_that_was_not_built_in_is_told_with_its_feature() {
        let error = refused(Device::Cuda(0));
        assert!(error.ends_with("has no CUDA support; build with --features cuda"), "{error}");
    }
}
