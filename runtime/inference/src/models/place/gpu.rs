use std::panic::catch_unwind;

use burn::tensor::{Device, DeviceType, Tensor};

use super::Place;
use crate::EncoderWeights;
use crate::models::ops::Path;

#[cfg(feature = "cuda")]
pub(super) fn cuda(index: usize) -> Result<Place, String> {
    open(index, || Device::enumerate(DeviceType::Cuda).into_iter().collect())
}

#[cfg(feature = "wgpu")]
pub(super) fn wgpu(index: usize) -> Result<Place, String> {
    use burn::tensor::DeviceKind;

    open(index, || {
        let mut devices: Vec<_> = Device::enumerate(DeviceType::Wgpu).into_iter().collect();
        let count = devices.len();
        let kinds: [fn(usize) -> DeviceKind; 3] =
            [DeviceKind::DiscreteGpu, DeviceKind::IntegratedGpu, DeviceKind::VirtualGpu];
        let software = Device::wgpu(DeviceKind::Cpu);
        let rank = |device: &Device| {
            let is = |kind: &fn(usize) -> DeviceKind| {
                (0..count).any(|i| Device::wgpu(kind(i)) == *device)
            };
            kinds.iter().position(is).unwrap_or(kinds.len() + usize::from(*device == software))
        };
        devices.sort_by_cached_key(rank);
        devices
    })
}

/// burn's backends panic where a driver fails them, which is no bug of ours or of the caller's.
fn open(index: usize, list: fn() -> Vec<Device>) -> Result<Place, String> {
    catch_unwind(|| probe(index, list())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it cannot be used: {}", text.unwrap_or("its driver failed")))
    })
}

fn probe(index: usize, devices: Vec<Device>) -> Result<Place, String> {
    let count = devices.len();
    let Some(device) = devices.into_iter().nth(index) else {
        return Err(match count {
            0 => "there is no such device on this machine, or no driver for it".to_owned(),
            1 => "there is only number 0 on this machine".to_owned(),
            _ => format!("there are only numbers 0 to {} on this machine", count - 1),
        });
    };
    let product = Tensor::<2>::ones([4, 3], &device).matmul(Tensor::ones([3, 2], &device));
    let data = product.sum().try_into_data().map_err(|error| error.to_string())?;
    if data.try_to_vec::<f32>().ok().as_deref() != Some(&[24.0]) {
        return Err("it computes wrongly".to_owned());
    }
    let name = device.identity().map_or_else(|| format!("{device:?}"), |identity| identity.name);
    tracing::info!(name, "models run on this GPU, without kernels of their own");
    Ok(Place { device, path: Path::Reference, encoder_weights: EncoderWeights::Stored })
}
