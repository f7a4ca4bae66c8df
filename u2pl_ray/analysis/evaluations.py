"""The file of evaluations, `results.json`: what was scored, on which images, how they were seen, and the figures.

    {"format": 1, "results": [{...}, ...]}

Entries are only ever added: the same checkpoint scored on the same images in the same way is a second entry if a
figure differs, and none if all are the same.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.schema import Config
from u2pl_ray.data.voc import Item, open_split
from u2pl_ray.search.experiment.options import versions
from u2pl_ray.system.atomic import write_whole
from u2pl_ray.system.home import under_home
from u2pl_ray.train.inference import Scores, Trained

FORMAT = 1
_CREATED = "created"


def describe(
    checkpoint: str, trained: Trained, config: Config, split: str, scored: Scores, boundary: float
) -> dict[str, Any]:
    """Build an entry.

    Args:
        checkpoint: path or URI of what was scored.
        trained: its networks.
        config: resolved; whose data was scored on, and how.
        split: val or test.
        scored: the result.
        boundary: width of the contours, as a share of the diagonal; 0: there is no Boundary IoU.
    """
    views, learned = config.evaluation, trained.config
    return {
        _CREATED: datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "split": split,
        "images": len(scored.items),
        "checkpoint": under_home(checkpoint),
        "checkpoint_sha256": trained.sha256,
        "epochs": trained.epochs_done,
        "networks": list(trained.networks),
        "mode": {**views.model_dump(mode="json"), "stride": views.step or None, "boundary": boundary or None},
        "data": {
            "root": under_home(config.data.root),
            "list": getattr(config.data, split),
            "sha256": split_sha256(scored.items),
        },
        "training": {
            "method": learned.method.name,
            "seed": learned.seed,
            "lists": {key: _list(learned, key) for key in ("labeled", "unlabeled")},
        },
        "classes": list(config.data.classes),
        "metrics": scored.metrics,
        "versions": versions(),
        "device": trained.device.type,
    }


def split_sha256(items: Iterable[Item]) -> str:
    """Compute the SHA-256 of a split: of its images' ids, sorted, a line each. The pixels do not enter."""
    return hashlib.sha256("".join(f"{id_}\n" for id_ in sorted(item.id for item in items)).encode()).hexdigest()


def _list(config: Config, key: str) -> dict[str, Any] | None:
    """Describe a list that the networks were trained on; None if there is none, or it is not on this machine."""
    named = getattr(config.data, key)
    try:
        items = () if named is None else open_split(config.data, key, labels=False)
    except UserError:
        return None
    return {"list": under_home(named), "images": len(items), "sha256": split_sha256(items)} if items else None


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read the entries of a file; none if there is no file.

    Raises:
        UserError: it is no file of evaluations.
    """
    try:
        tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read as evaluations ({error}); choose another --output") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT or not isinstance(tree.get("results"), list):
        raise UserError(f"{path}: is no file of evaluations (format {FORMAT}); choose another --output")
    entries: list[dict[str, Any]] = tree["results"]
    return entries


def add_result(path: Path, entry: dict[str, Any]) -> bool:
    """Add an entry to a file; return False if it has the same one, made at another time, already.

    Evaluations that end at once wait for each other.

    Args:
        path: the file; made if it is not there.
        entry: of `describe`.

    Raises:
        UserError: it can't be written, or is no file of evaluations.
    """
    entry = json.loads(json.dumps(entry))  # tuples become lists, as they will be read
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = read_results(path)
            if any(_timeless(other) == _timeless(entry) for other in entries):
                return False
            write_whole(path, json.dumps({"format": FORMAT, "results": [*entries, entry]}, indent=2) + "\n")
            return True
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; choose another --output") from None


def _timeless(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != _CREATED}
