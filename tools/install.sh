#!/usr/bin/env bash
# Installs one lock and mosu itself into .venv:  tools/install.sh hub|dev|e2e
# Every file is checked against its hash; nothing is built but mosu, which is linked in place.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "mosu: setting up .venv ($1), once; this takes a minute" >&2
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
.venv/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r "requirements/$1.lock" || {
  echo "mosu: pip could not install. Through a mirror or a proxy: PIP_INDEX_URL=... or HTTPS_PROXY=..., then make again." >&2
  exit 1
}
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# A path file and a starter are all that an editable install is; no build tool is needed for them. Neither names the
# folder of the checkout: it may have spaces in its name, which no #! line can hold, and it may be moved.
echo ../../../../src > "$site/mosu-in-place.pth"
cat > .venv/bin/mosu <<'STARTER'
#!/bin/sh
'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python" "$0" "$@"
' '''
import sys

from mosu.cli.main import main

sys.exit(main())
STARTER
chmod 755 .venv/bin/mosu
touch ".venv/.$1"
case "$1" in e2e) touch .venv/.dev .venv/.hub ;; dev) touch .venv/.hub ;; esac
