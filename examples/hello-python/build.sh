#!/usr/bin/env bash
# Builds the function: target/hello-python.wasm. Needs Python 3.10 or later; the tool that builds it
# goes to target/venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p target
[ -x target/venv/bin/pip ] || python3 -m venv target/venv
target/venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
target/venv/bin/componentize-py --quiet --wit-path wit --world function \
    componentize hello --output target/hello-python.wasm
