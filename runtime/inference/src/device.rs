//! Where models run, by name.

use std::fmt;
use std::str::FromStr;

/// What computes. A device other than the processor has no kernels of ours: burn's own operations
/// run there, on weights, keys and values that have become f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor, by our kernels.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number in the driver. For builds with the feature `cuda`.
    Cuda(usize),
    /// A GPU by its number among those of Vulkan, Metal or DirectX, discrete ones first and
    /// software last. For builds with the feature `wgpu`.
    Wgpu(usize),
}

impl FromStr for Device {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected \"cpu\", \"cuda\" or \"wgpu\", the last two with a number \
            where the first GPU is not meant, such as \"cuda:1\"";
        let index = |rest: &str| match rest.strip_prefix(':') {
            Some(number) => number.parse().ok(),
            None => rest.is_empty().then_some(0),
        };
        let gpu = |kind: &str| text.strip_prefix(kind).and_then(index);
        let device = match text {
            "cpu" => Some(Self::Cpu),
            _ => gpu("cuda").map(Self::Cuda).or_else(|| gpu("wgpu").map(Self::Wgpu)),
        };
        device.ok_or(EXPECTED)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Device;

    #[test]
    fn devices_have_names() {
        for (text, expect) in [
            ("cpu", Some((Device::Cpu, "cpu"))),
            ("cuda", Some((Device::Cuda(0), "cuda:0"))),
            ("cuda:1", Some((Device::Cuda(1), "cuda:1"))),
            ("wgpu", Some((Device::Wgpu(0), "wgpu:0"))),
            ("wgpu:12", Some((Device::Wgpu(12), "wgpu:12"))),
            ("", None),
            ("cpu:0", None),
            ("cuda:", None),
            ("cuda:-1", None),
            ("wgpu:0:1", None),
            ("CUDA", None),
        ] {
            let device = text.parse::<Device>().ok();
            assert_eq!(device, expect.map(|(device, _)| device), "{text}");
            assert_eq!(device.map(|d| d.to_string()).as_deref(), expect.map(|(_, name)| name));
        }
    }
}
