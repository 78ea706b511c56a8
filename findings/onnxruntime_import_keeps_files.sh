#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPython 3.11, Linux x86-64): importing it, with no session made and nothing
# asked of it, leaves a device id and a database of events in the user's cache folder.
#
# What decides is one environment variable at the time of the import:
#
#   nothing set                                   2 files: deviceid onnxruntime.db
#   ORT_DISABLE_TELEMETRY=1 before the import     0 files
#   ORT_DISABLE_TELEMETRY=1 after the import      2 files: deviceid onnxruntime.db
#   disable_telemetry_events() after the import   2 files: deviceid onnxruntime.db
#
# So a library that imports onnxruntime for its users, and calls the documented function, is late.
# Each case runs with an empty home and, where the system allows it, without any network.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'onnxruntime==1.32.0' 'numpy==2.3.5'

alone=()
if unshare --net true 2>/dev/null; then alone=(unshare --net); fi

found() { # CASE PYTHON [VARIABLE=VALUE]: the names of the files that it leaves at home
    local home="$work/home-$1"
    mkdir "$home"
    env -i PATH="$PATH" HOME="$home" PYTHONDONTWRITEBYTECODE=1 ${3:+"$3"} "${alone[@]}" \
        "$work/venv/bin/python" -c "$2; import time; time.sleep(6)"
    find "$home" -type f ! -name '*-wal' ! -name '*-shm' ! -name '*-journal' -printf '%f\n' |
        sort | paste -sd ' '
}

off=ORT_DISABLE_TELEMETRY
plain=$(found plain 'import onnxruntime')
before=$(found before 'import onnxruntime' "$off=1")
after=$(found after "import os, onnxruntime; os.environ['$off'] = '1'")
called=$(found called 'import onnxruntime; onnxruntime.disable_telemetry_events()')

printf 'nothing set:                 %s\n' "$plain"
printf 'variable before the import:  %s\n' "${before:-none}"
printf 'variable after the import:   %s\n' "$after"
printf 'function after the import:   %s\n' "$called"

kept='deviceid onnxruntime.db'
[ "$plain" = "$kept" ] && [ -z "$before" ] && [ "$after" = "$kept" ] && [ "$called" = "$kept" ]
