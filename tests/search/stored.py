"""An experiment in a store, planned without a cluster, and a lease there."""

from u2pl_ray.config.schema import Config
from u2pl_ray.search.cluster.capacity import Fit
from u2pl_ray.search.experiment.options import TRAINER, Options
from u2pl_ray.search.experiment.plan import Plan
from u2pl_ray.search.samplers.registry import SamplerChoice
from u2pl_ray.search.schedulers.registry import SchedulerChoice
from u2pl_ray.search.space.space import Space
from u2pl_ray.search.storage.lease import Lease
from u2pl_ray.search.storage.lease_marks import ObjectMark
from u2pl_ray.search.storage.object_store import Objects
from u2pl_ray.search.storage.place import locate


def a_plan(storage: str, base: Config, space: Space) -> Plan:
    """As `plan_search` would make it, without a cluster."""
    options = Options(3, SamplerChoice("random", 0, {}), SchedulerChoice("none", {}), None, TRAINER)
    return Plan("a", locate("a", storage), base, space, options, Fit(1, False, ""), {})


def lease(storage: str, beat: float, stale: float) -> Lease:
    """Of a search named `search`, which beats every `beat` seconds and is dead after `stale`."""
    return Lease(ObjectMark(Objects(storage)), "search", beat, stale)
