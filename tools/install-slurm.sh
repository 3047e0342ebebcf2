#!/usr/bin/env bash
# Installs what the tests of the Slurm engine need: a whole Slurm, with its accounts, on Debian or Ubuntu.
set -euo pipefail
if [ "$(id -u)" != 0 ]; then
  echo "These tests start a Slurm of their own, and Slurm's daemons start as root: call them as root (sudo make test-slurm)." >&2
  exit 1
fi
missing=""
for program in sbatch slurmctld slurmd slurmdbd munged mariadbd; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "Install Slurm with slurmdbd, munge and MariaDB; here is no apt-get to do it. Missing:$missing" >&2
  exit 1
fi
"$(dirname "$0")/apt-install.sh" slurm-wlm slurmdbd munge mariadb-server mariadb-client
