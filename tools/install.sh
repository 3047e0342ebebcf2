#!/usr/bin/env bash
# Installs one lock and mosu itself into .venv:  tools/install.sh hub|dev|e2e
# Every file is checked against its hash; nothing is built but mosu, which is linked in place.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "mosu: setting up .venv ($1), once" >&2
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
.venv/bin/pip install --quiet --require-hashes --only-binary :all: -r "requirements/$1.lock"
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# A path file and a starter are all that an editable install is; no build tool is needed for them.
echo "$PWD/src" > "$site/mosu-in-place.pth"
cat > .venv/bin/mosu <<STARTER
#!$PWD/.venv/bin/python
import sys

from mosu.cli.main import main

sys.exit(main())
STARTER
chmod 755 .venv/bin/mosu
touch ".venv/.$1"
case "$1" in e2e) touch .venv/.dev .venv/.hub ;; dev) touch .venv/.hub ;; esac
