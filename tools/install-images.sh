#!/usr/bin/env bash
# Installs what the tests of images of containers need: what fetches and unpacks them, a registry, and a program that
# needs no library of its image.
set -euo pipefail
missing=""
for program in skopeo umoci docker-registry bash-static; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Install them with your package manager:$missing" >&2
  exit 1
fi
"$(dirname "$0")/apt-install.sh" skopeo umoci docker-registry bash-static openssh-server
