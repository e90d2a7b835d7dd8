#!/bin/bash
# What the job of htcondor.sub runs.
set -euo pipefail
resume=()
if [ -e "$2/config.json" ]; then resume=(--resume); fi
exec difftune run "$1" --output "$2" "${resume[@]}"
