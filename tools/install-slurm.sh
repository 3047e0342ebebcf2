#!/usr/bin/env bash
# Installs what the tests of the Slurm engine need: a whole Slurm, with its accounts, on Debian or Ubuntu.
set -euo pipefail
missing=""
for program in sbatch slurmctld slurmd slurmdbd munged mariadbd; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "These tests start a Slurm of their own. As root: apt-get install slurm-wlm slurmdbd munge mariadb-server" >&2
  exit 1
fi
apt-get -o DPkg::Lock::Timeout=300 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
  slurm-wlm slurmdbd munge mariadb-server mariadb-client >/dev/null
