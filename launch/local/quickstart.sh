#!/usr/bin/env bash
# A search on generated images, on this machine: CPU, local Ray, W&B offline. Beside it two trainings with the same budget
# and seed, so that you see what the unlabeled images bring: supervised without them, and with their labels (the oracle).
set -euo pipefail
cd "$(dirname "$0")/../.."
export WANDB_MODE="${WANDB_MODE:-offline}"
u2pl_ray() {
    echo "\$ u2pl-ray $*"
    .venv/bin/python -m u2pl_ray "$@"
}
stamp=$(date +%Y%m%d-%H%M%S)

u2pl_ray search quickstart --space quickstart --trials 3 --baseline supervised --baseline oracle \
    --name "quickstart-$stamp"
echo
u2pl_ray compare "quickstart-$stamp" --split test
u2pl_ray export "quickstart-$stamp" --output "output/quickstart-$stamp.yaml"
