#!/usr/bin/env bash
# Installs what the browser journeys need and a user does not: Chromium and a Chinese font, on Debian or Ubuntu.
set -euo pipefail
command -v chromium >/dev/null && fc-list 2>/dev/null | grep -qi 'noto.*cjk' && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "The journeys need Chromium and a Chinese font. As root: apt-get install chromium fonts-noto-cjk" >&2
  exit 1
fi
apt-get -o DPkg::Lock::Timeout=300 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
  chromium fonts-noto-cjk fontconfig >/dev/null
