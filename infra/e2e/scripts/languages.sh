#!/usr/bin/env bash
# Makes target/e2e-languages: the example functions in JavaScript and Python, copied and built from
# source as their READMEs say, each with its own language's tools. Does nothing when what is there is
# what this script would make. Needs Node 20 or later with npm, and Python 3.10 or later.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
export LC_ALL=C
out=target/e2e-languages

# Whatever builds leave in the folders themselves is no source.
readarray -t sources < <(
    find examples/hello-js examples/hello-python -type f \
        -not -path '*/target/*' -not -path '*/node_modules/*' -not -path '*/__pycache__/*' | sort
)
stamp=$(sha256sum infra/e2e/scripts/languages.sh "${sources[@]}" | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "$out is up to date"
    exit 0
fi
rm -rf "$out"
mkdir -p "$out"
cp --parents "${sources[@]}" "$out/"
(
    cd "$out/examples/hello-js"
    npm ci --loglevel=error --no-audit --no-fund
    npm run --silent build
)
"$out/examples/hello-python/build.sh"
echo "$stamp" >"$out/stamp"
