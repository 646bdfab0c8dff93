#!/usr/bin/env bash
# Are the processes at work that this container was started for? Exit status 1 when one is not.
#
# FLOOP_HEALTH  names for `floop health`, separated by spaces; empty means that floop's installation is examined instead
set -euo pipefail

read -ra names <<< "${FLOOP_HEALTH:-}"
if [[ ${#names[@]} -eq 0 ]]; then
    exec entry_point.sh floop doctor
fi
exec entry_point.sh floop health --config "${FLOOP_CONFIG:-/etc/floop/fleet.yaml}" "${names[@]}"
