#!/usr/bin/env bash
# Sources ROS and floop's interfaces, then becomes the command that was given; without one, shows floop's help.
#
# FLOOP_SETUP   setup files to source, in this order, separated by colons
# FLOOP_PREFIX  where floop is installed: its bin/ and its ament index
set -euo pipefail

prefix="${FLOOP_PREFIX:-/opt/floop}"
IFS=: read -ra setup_files <<< "${FLOOP_SETUP:-}"
for file in "${setup_files[@]}"; do
    if [[ ! -r "$file" ]]; then
        echo "entry_point.sh: $file, named in FLOOP_SETUP, is not there; is this the right image?" >&2
        exit 2
    fi
    set +eu # the setup files of ROS use what may be unset, and commands that may fail
    # shellcheck disable=SC1090  # which files is known at run time only
    source "$file"
    set -eu
done
export PATH="$prefix/bin:$PATH"
export AMENT_PREFIX_PATH="$prefix${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"

if [[ $# -eq 0 ]]; then
    set -- floop --help
elif [[ "$1" == floop && "${2:-}" == up && -n "${FLOOP_CONFIG:-}" ]]; then
    set -- floop up --config "$FLOOP_CONFIG" "${@:3}"
fi
exec "$@"
