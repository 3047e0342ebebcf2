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
# What mosu brings for sessions goes with the package; what `.without` names is left out with all that it needs.
for brought in jupyter smollm2; do
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --no-header "${upgrade[@]}" "requirements/$brought.in" --overrides "requirements/$brought.without" \
    -o "src/mosu/sandbox/environments/$brought.lock"
done
# What tests start and mosu never imports: an environment of its own for each.
for beside in ray openai; do
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --no-header "${upgrade[@]}" --group "$beside" -o "requirements/$beside.lock"
done
