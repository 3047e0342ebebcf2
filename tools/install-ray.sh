#!/usr/bin/env bash
# Installs Ray for tests into .venv-ray, an environment of its own: mosu speaks HTTP with it and never imports it.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -e .venv-ray/.done ] && [ ! requirements/ray.lock -nt .venv-ray/.done ] && exit 0
"${PYTHON:-python3}" -m venv .venv-ray
PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore .venv-ray/bin/python -m pip install --quiet \
  --require-hashes --only-binary :all: -r requirements/ray.lock
touch .venv-ray/.done
