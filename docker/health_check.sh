#!/usr/bin/env bash
# Checks that the processes of this container work. Exit status 1 when one does not.
#
# FLOOP_HEALTH  names for `floop health`, separated by spaces; empty: checks the installation instead
set -euo pipefail

read -ra names <<< "${FLOOP_HEALTH:-}"
if [[ ${#names[@]} -eq 0 ]]; then
    exec entry_point.sh floop doctor
fi
exec entry_point.sh floop health --config "${FLOOP_CONFIG:-/etc/floop/fleet.yaml}" "${names[@]}"
