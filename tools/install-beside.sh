#!/usr/bin/env bash
# Installs what tests start and mosu never imports into .venv-NAME, an environment of its own:  tools/install-beside.sh ray|openai
set -euo pipefail
cd "$(dirname "$0")/.."
[ -e ".venv-$1/.done" ] && [ ! "requirements/$1.lock" -nt ".venv-$1/.done" ] && exit 0
"${PYTHON:-python3}" -m venv ".venv-$1"
PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore ".venv-$1/bin/python" -m pip install --quiet \
  --require-hashes --only-binary :all: -r "requirements/$1.lock"
touch ".venv-$1/.done"
