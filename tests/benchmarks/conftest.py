import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.reference_losses import load_reference


@pytest.fixture(scope="session")
def reference() -> Path:
    """Where the published code is: U2PL_REFERENCE names a checkout."""
    named = os.environ.get("U2PL_REFERENCE")
    if not named:
        pytest.skip("U2PL_REFERENCE names no checkout of the published code")
    return Path(named)


@pytest.fixture(scope="module")
def losses(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[types.ModuleType]:
    """The published losses; what loading them changes in this process is put back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("U2PL_RAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(torch.Tensor, "cuda", torch.Tensor.cuda)
        patch.setattr(sys, "path", [*sys.path])
        for name in ("skimage", "skimage.measure"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield load_reference(reference)
        torch.set_num_threads(before)
