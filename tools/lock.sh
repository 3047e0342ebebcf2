#!/usr/bin/env bash
# Resolves pyproject.toml into hashed locks that name no address:  tools/lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venv/bin/uv)
compile() {
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --no-header "${upgrade[@]}" pyproject.toml "${@:2}" -o "requirements/$1.lock"
}
upgrade=("$@")
compile base
compile hub --extra hub
compile dev --extra hub --group dev
compile e2e --extra hub --group dev --group e2e
# What mosu brings for notebooks goes with the package; what `.without` names is left out with all that it needs.
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-annotate --no-header "${upgrade[@]}" requirements/jupyter.in --overrides requirements/jupyter.without \
  -o src/mosu/sandbox/environments/jupyter.lock
# Ray is a program that tests start, never imported: an environment of its own.
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-annotate --no-header "${upgrade[@]}" --group ray -o requirements/ray.lock
