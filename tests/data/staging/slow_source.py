"""Stage a data set in a process of its own, slowly: what another process meets while it copies, or finds after a kill.

python tests/data/staging/slow_source.py CONFIG.json CACHE SECONDS_A_FILE
"""

import sys
import time
from pathlib import Path
from typing import BinaryIO

from u2pl_ray.config.data import DataConfig
from u2pl_ray.data.staging import copies, transfer
from u2pl_ray.data.staging.sources import File, StoreSource


class Slow(StoreSource):
    """A store that takes its time for every file, and so shows how many were asked for."""

    def __init__(self, data: DataConfig, seconds: float = 0.0) -> None:
        super().__init__(data)
        self.seconds, self.opened = seconds, 0

    def open(self, file: File) -> BinaryIO:
        self.opened += 1
        time.sleep(self.seconds)
        return super().open(file)


if __name__ == "__main__":
    transfer.THREADS = 1
    data = DataConfig.model_validate_json(Path(sys.argv[1]).read_text())
    copies.node_copy(Slow(data, float(sys.argv[3])), Path(sys.argv[2]), print)
