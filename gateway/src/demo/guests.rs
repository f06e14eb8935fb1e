//! The example functions, as they were built and are kept beside their sources.

/// A function that the demo deploys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guest {
    /// Its name, as its manifest has it.
    pub(super) name: &'static str,
    /// Its manifest.
    pub(super) manifest: &'static str,
    /// Its component.
    pub(super) component: &'static [u8],
}

/// Greets; calls no model.
pub(super) const HELLO: Guest = Guest {
    name: "hello",
    manifest: include_str!("../../../examples/hello/emberbox.toml"),
    component: include_bytes!("../../../examples/prebuilt/hello.wasm"),
};

/// Streams a story that a model writes.
pub(super) const STORYTELLER: Guest = Guest {
    name: "storyteller",
    manifest: include_str!("../../../examples/storyteller/emberbox.toml"),
    component: include_bytes!("../../../examples/prebuilt/storyteller.wasm"),
};

/// Ranks documents by their embeddings.
pub(super) const SEMANTIC_SEARCH: Guest = Guest {
    name: "semantic-search",
    manifest: include_str!("../../../examples/semantic-search/emberbox.toml"),
    component: include_bytes!("../../../examples/prebuilt/semantic-search.wasm"),
};

/// The embedding model that the manifest of `semantic-search` names.
pub(super) const EMBEDDING_MODEL: &str = "all-minilm-l6-v2";

/// The model that is inside this program.
pub(super) const BUNDLED_MODEL: &str = "tiny-storyteller";

#[cfg(test)]
mod tests {
    use crate::manifest::Manifest;

    use super::*;

    #[test]
    fn the_manifests_are_right_and_name_their_function() {
        for guest in [HELLO, STORYTELLER, SEMANTIC_SEARCH] {
            let manifest = Manifest::parse(guest.manifest).unwrap();
            assert_eq!(manifest.name, guest.name);
        }
        assert!(SEMANTIC_SEARCH.manifest.contains(EMBEDDING_MODEL));
        let bundled = SEMANTIC_SEARCH.manifest.replace(EMBEDDING_MODEL, BUNDLED_MODEL);
        assert!(Manifest::parse(&bundled).unwrap().models.contains(BUNDLED_MODEL));
    }
}
