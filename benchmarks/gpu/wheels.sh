#!/usr/bin/env bash
# Collect the wheels that a machine with PyTorch, torchvision, timm, OpenCV, numpy and scipy alone lacks, for one
# without a network: Linux x86-64, Python 3.12 (or PYTHON_VERSION). About 10 MB.
#
#   benchmarks/gpu/wheels.sh wheels
#
# There: python -m pip install -q --no-index --no-deps --target /tmp/site wheels/*.whl
#        PYTHONPATH=/tmp/site:. python -m benchmarks.gpu --out DIR
set -euo pipefail
folder=${1:?usage: wheels.sh FOLDER}
"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder" \
    --implementation cp --python-version "${PYTHON_VERSION:-3.12}" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    segmentation_models_pytorch==0.6.0 albumentations==2.0.8 albucore==0.0.24 stringzilla==5.3.2 simsimd==6.5.16 \
    pydantic==2.14.4 pydantic_core==2.50.5 annotated_types==0.8.0 typing_inspection==0.4.5 \
    "omegaconf>=2.3" typing_extensions
