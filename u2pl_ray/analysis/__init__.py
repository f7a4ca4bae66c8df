"""Floor 5: reads a finished or running experiment."""

from u2pl_ray.analysis.load import Analysis as Analysis
from u2pl_ray.analysis.load import load as load
