#!/usr/bin/env bash
# Installs packages of Debian or Ubuntu, as root:  tools/apt-install.sh PACKAGE...
set -euo pipefail
exec 9</var/lib/apt/lists
flock 9  # of two that install at once one waits, since apt-get update does not; no daemon that comes with it has the lock
apt-get -o DPkg::Lock::Timeout=300 update -qq 9<&-
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >/dev/null 9<&-
