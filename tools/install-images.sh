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
exec 9</var/lib/apt/lists
flock 9  # of two that install at once one waits, since apt-get update does not; no daemon that comes with it has the lock
apt-get -o DPkg::Lock::Timeout=300 update -qq 9<&-
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
  skopeo umoci docker-registry bash-static openssh-server >/dev/null 9<&-
