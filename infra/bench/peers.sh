#!/usr/bin/env bash
# Installs the peers that benchmarks compare with, from package registries, into a cache folder:
#   $EMBERBOX_PEERS, by default ~/.cache/emberbox-peers
# wasmtime is the version that the runtime is built on, with what `wasmtime serve` needs and its
# defaults there: Cranelift, the pooling allocator, compilation on all cores.
# llama.cpp is the one inside llama-cpp-python's source distribution, built for this very CPU, with
# OpenMP, which is its default and lost less than its own threads on a busy machine: both programs
# that measure, and nothing else. It takes a C++ compiler and python3 with venv; cmake and ninja come
# as wheels. candle is a small program of ours around it, `candle/`, built for this very CPU.
# `peers.sh llama.cpp` installs that one alone, and so do `wasmtime` and `candle`;
# `EMBERBOX_PEERS_JOBS` bounds the compilers at work.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=${EMBERBOX_PEERS:-$HOME/.cache/emberbox-peers}
wasmtime_version=48.0.8
llama_cpp_python_version=0.3.36
jobs=${EMBERBOX_PEERS_JOBS:-$(nproc)}

wasmtime() {
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
}

llama_cpp() {
    local version="llama-cpp-python $llama_cpp_python_version" home="$peers/llama.cpp"
    if [ "$(cat "$home/version" 2>/dev/null)" = "$version" ]; then
        echo "llama.cpp of $version is in $home"
        return
    fi
    local work="$peers/llama.cpp-build"
    rm -rf "$work" "$home"
    mkdir -p "$work"
    python3 -m venv "$work/tools"
    "$work/tools/bin/pip" install --quiet cmake ninja
    # Only this package from source: what its build needs may come as wheels.
    "$work/tools/bin/pip" download --quiet --no-deps --no-binary llama-cpp-python --dest "$work" \
        "llama-cpp-python==$llama_cpp_python_version"
    tar -xzf "$work/llama_cpp_python-$llama_cpp_python_version.tar.gz" -C "$work"
    PATH="$work/tools/bin:$PATH"
    cmake -G Ninja -B "$work/build" \
        -S "$work/llama_cpp_python-$llama_cpp_python_version/vendor/llama.cpp" \
        -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_CUDA=OFF -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF \
        -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN'
    cmake --build "$work/build" --parallel "$jobs" --target llama-bench llama-batched-bench
    mkdir -p "$home"
    cp -a "$work/build/bin" "$home/bin"
    echo "$version" >"$home/version"
    rm -rf "$work"
}

candle() {
    RUSTFLAGS='-C target-cpu=native' CARGO_TARGET_DIR="$peers/build" cargo install --locked \
        --root "$peers" --force --jobs "$jobs" --path "$here/candle"
    rm -rf "$peers/build"
}

case ${1:-all} in
all)
    wasmtime
    llama_cpp
    candle
    ;;
wasmtime) wasmtime ;;
candle) candle ;;
llama.cpp) llama_cpp ;;
*)
    echo "usage: peers.sh [wasmtime|llama.cpp|candle]" >&2
    exit 64
    ;;
esac
