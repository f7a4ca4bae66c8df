#!/usr/bin/env bash
# The RayJob's entrypoint, run on the head. Safe to repeat: it starts the search, or goes on with it.
set -euo pipefail
exec u2pl-ray search /etc/u2pl/config.yaml --space "$SPACE" --name "$NAME" --trials "$TRIALS" \
    --resume-if-exists --autoscale --max-concurrent "$CONCURRENT"
