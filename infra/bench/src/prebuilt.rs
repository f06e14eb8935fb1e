//! The example functions, as they are kept in the tree.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// Where one of them lies.
pub(crate) fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/prebuilt");
    folder.join(format!("{name}.wasm"))
}

/// Its bytes.
pub(crate) fn read(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = path(name);
    std::fs::read(&path).with_context(|| path.display().to_string())
}
