#!/usr/bin/env bash
# Rebuilds the example functions in Rust and keeps them in examples/prebuilt/, where tests and the
# demo find them. Takes no arguments: all of them are built, so that the manifest never lies. Those in
# other languages, which have no Cargo.toml, are large and built by their own tools.
#
# Needs the targets once: rustup target add wasm32-wasip1 wasm32-wasip2
#
# examples/prebuilt/MANIFEST.json says what each was built from:
#   {"NAME": {"sources_sha256": "...", "wasm_sha256": "...", "bytes": N}, ...}, names sorted.
# wasm_sha256 is the SHA-256 of examples/prebuilt/NAME.wasm, in lower-case hexadecimal.
# sources_sha256 is the SHA-256 of a listing of the sources. The sources are
#   guest-sdk/Cargo.toml, all files under guest-sdk/src/ and guest-sdk/wit/,
#   examples/Cargo.toml, examples/Cargo.lock,
#   examples/NAME/Cargo.toml, all files under examples/NAME/src/
# as paths from the repository's root with forward slashes, sorted by their bytes. The listing has
# one line for each: the SHA-256 of the file's content in lower-case hexadecimal, two spaces, the
# path, a line feed. (It is what `sha256sum` prints.)
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

guests=() # sorted
for manifest in examples/*/emberbox.toml; do
    folder=$(dirname "$manifest")
    [ ! -f "$folder/Cargo.toml" ] || guests+=("$(basename "$folder")")
done
# Core modules, whose manifests look for them where that target's programs are.
commands=()
for name in "${guests[@]}"; do
    ! grep -q /wasm32-wasip1/ "examples/$name/emberbox.toml" || commands+=("$name")
done
target=${CARGO_TARGET_DIR:-examples/target}
out=examples/prebuilt

sources_sha256() {
    {
        find guest-sdk/src guest-sdk/wit "examples/$1/src" -type f
        printf '%s\n' guest-sdk/Cargo.toml examples/Cargo.toml examples/Cargo.lock "examples/$1/Cargo.toml"
    } | sort | tr '\n' '\0' | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# The same sources and compiler give the same bytes wherever the checkout lies. For that they are
# built from a copy in which everything is inside the workspace: Cargo names crates outside of it
# by their absolute paths. Times are kept, so that only what has changed is built again.
stage=$target/stage
mkdir -p "$target"
rm -rf "$stage" && mkdir "$stage"
cp -Rp guest-sdk "$stage/emberbox-sdk"
rm -rf "$stage/emberbox-sdk/target"
cp -p examples/Cargo.lock "$stage/"
for name in "${guests[@]}"; do cp -Rp "examples/$name" "$stage/"; done
sed 's|"../guest-sdk"|"emberbox-sdk"|' examples/Cargo.toml >"$stage/Cargo.toml"

# No path of this machine may get into a component. Where several prefixes match, the last counts.
remap=(
    "--remap-path-prefix=$(rustc --print sysroot)=/rust"
    "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    "--remap-path-prefix=$(cd "$stage" && pwd)=/emberbox"
)
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${remap[*]}")
export CARGO_ENCODED_RUSTFLAGS
build=(cargo build --locked --release --manifest-path "$stage/Cargo.toml" --target-dir "$target")
"${build[@]}" --workspace "${commands[@]/#/--exclude=}" --target wasm32-wasip2
"${build[@]}" "${commands[@]/#/--package=}" --target wasm32-wasip1

mkdir -p "$out"
for name in "${guests[@]}"; do
    case " ${commands[*]} " in
        *" $name "*) built=wasm32-wasip1/release/$name.wasm ;;
        *) built=wasm32-wasip2/release/${name//-/_}.wasm ;;
    esac
    cp "$target/$built" "$out/$name.wasm.new"
    mv "$out/$name.wasm.new" "$out/$name.wasm"
done
{
    comma='{'
    for name in "${guests[@]}"; do
        wasm=$(sha256sum <"$out/$name.wasm" | cut -d' ' -f1)
        bytes=$(($(wc -c <"$out/$name.wasm")))
        printf '%s\n  "%s": {\n    "sources_sha256": "%s",\n    "wasm_sha256": "%s",\n    "bytes": %s\n  }' \
            "$comma" "$name" "$(sources_sha256 "$name")" "$wasm" "$bytes"
        comma=,
    done
    printf '\n}\n'
} >"$out/MANIFEST.json.new"
mv "$out/MANIFEST.json.new" "$out/MANIFEST.json"
cat "$out/MANIFEST.json"
