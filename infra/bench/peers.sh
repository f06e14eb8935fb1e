#!/usr/bin/env bash
# Installs the peers that benchmarks compare with, from package registries, into a cache folder:
#   $EMBERBOX_PEERS, by default ~/.cache/emberbox-peers
# wasmtime is the version that the runtime is built on, with what `wasmtime serve` needs and its
# defaults there: Cranelift, the pooling allocator, compilation on all cores.
set -euo pipefail
peers=${EMBERBOX_PEERS:-$HOME/.cache/emberbox-peers}
wasmtime_version=48.0.8

if "$peers/bin/wasmtime" --version 2>/dev/null | grep -qF "wasmtime $wasmtime_version"; then
    echo "wasmtime $wasmtime_version is in $peers"
else
    CARGO_TARGET_DIR="$peers/build" cargo install --locked --root "$peers" --force \
        --version "$wasmtime_version" --no-default-features \
        --features run,serve,compile,cranelift,pooling-allocator,parallel-compilation \
        --features threads,component-model-async \
        wasmtime-cli
    rm -rf "$peers/build"
fi
