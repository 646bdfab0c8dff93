#!/usr/bin/env bash
# Sources ROS and floop's interfaces, then becomes the given command. Without a command it shows floop's help.
#
# FLOOP_SETUP   setup files to source, in this order, separated by colons
# FLOOP_PREFIX  where floop is installed: its bin/ and its ament index
set -euo pipefail

prefix="${FLOOP_PREFIX:-/opt/floop}"
IFS=: read -ra setup_files <<< "${FLOOP_SETUP:-}"
for file in "${setup_files[@]}"; do
    if [[ ! -r "$file" ]]; then
        echo "entry_point.sh: $file, named in FLOOP_SETUP, does not exist; check FLOOP_SETUP and the image" >&2
        exit 2
    fi
    set +eu # ROS setup files use unset variables and commands that may fail
    # shellcheck disable=SC1090  # the files are known at run time only
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
