use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::blob::Blob;
use super::weights::{Entry, Storage};
use crate::InferenceError;

/// The JSON before the data: names, shapes and offsets.
const HEADER_BYTES_MAX: u64 = 32 << 20;

/// Parses the header of one file and checks that its tensors fill the rest of it exactly.
pub(crate) fn parse(blob: &Blob, index: usize) -> Result<Vec<(String, Entry)>, InferenceError> {
    let prefix = blob.read(0, 8)?;
    let len = u64::from_le_bytes(prefix.try_into().unwrap_or_default());
    if len > HEADER_BYTES_MAX {
        return Err(blob.bad(format!("a header of {len} bytes is over {HEADER_BYTES_MAX}")));
    }
    let header = blob.read(8, len)?;
    // This also refuses tensors that overlap, leave gaps, or whose shape is not their size.
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| blob.bad(format!("header: {error}")))?;
    let data = 8 + len;
    let need = metadata.data_len() as u64;
    if need != blob.len() - data {
        let have = blob.len() - data;
        return Err(blob.bad(format!("holds {have} bytes of data, its header says {need}")));
    }
    let mut entries = Vec::new();
    for (name, info) in metadata.tensors() {
        // Buffers that old exports carry are not weights.
        if name.ends_with("position_ids") || name.ends_with("rotary_emb.inv_freq") {
            continue;
        }
        let storage = match info.dtype {
            Dtype::F32 => Storage::F32,
            Dtype::F16 => Storage::F16,
            Dtype::BF16 => Storage::Bf16,
            other => {
                let reason = format!(
                    "tensor `{name}` is of type {other:?}, which is not supported (F32, F16, BF16 are)"
                );
                return Err(blob.bad(reason));
            }
        };
        let (start, end) = info.data_offsets;
        entries.push((
            name,
            Entry {
                shape: info.shape.iter().map(|d| *d as u64).collect(),
                storage,
                blob: index,
                offset: data + start as u64,
                bytes: (end - start) as u64,
            },
        ));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
