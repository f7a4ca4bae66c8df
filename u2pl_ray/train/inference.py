"""Using a checkpoint or exported weights: the networks, and their score on a split."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.overrides import validate
from u2pl_ray.config.schema import Config, DataConfig
from u2pl_ray.data.loaders import EvaluationBatches
from u2pl_ray.data.voc import Item, official
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.train.boundary import boundary_counts, boundary_scores
from u2pl_ray.train.checkpoint import FILE, digest, load_for_user
from u2pl_ray.train.evaluate import count_pairs, predictions, scores
from u2pl_ray.train.weights_file import SUFFIX, read_weights

NETWORKS = ("student", "teacher")


@dataclass
class Trained:
    """The networks of a checkpoint or of a file of weights, in eval mode.

    Attributes:
        config: they were trained with.
        networks: by name: student, teacher, or both.
        epochs_done: of their training.
        device: they are on.
        sha256: of the file.
    """

    config: Config
    networks: Mapping[str, Segmentor]
    epochs_done: int
    device: torch.device
    sha256: str


def open_checkpoint(path: str, networks: Sequence[str] = NETWORKS) -> Trained:
    """Load networks of a checkpoint, or the one in a file of exported weights, on the GPU if there is one.

    Args:
        path: the checkpoint's folder or file, or its folder's URI, or a safetensors file that `export` wrote.
        networks: which ones are wanted; a file of weights has to hold one of them.

    Raises:
        UserError: no readable checkpoint there, one of another version of the networks, or a network it does not hold.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _local(path) as place:
        here = Path(place).expanduser()
        if here.suffix == SUFFIX:
            weights, config, held, epochs_done = read_weights(here)
            states: dict[str, dict[str, Tensor]] = {held: weights}
            representation = False
        else:
            state = load_for_user(place)  # optimizer and memory bank too, which no GPU has to hold
            config = validate(state["config"], f"{path}: its config")
            states, epochs_done = {name: state[name] for name in NETWORKS}, state["epochs_done"]
            representation = config.method.contrasts
        sha256 = digest(here / FILE if here.is_dir() else here)
    chosen = [name for name in NETWORKS if name in networks and name in states]
    if not chosen:
        raise UserError(f"{path}: holds the {' and '.join(states)}, not the {' or '.join(networks)}")
    # The weights are in the file: do not fetch pretrained ones first.
    model = config.model.model_copy(update={"encoder_weights": None})
    opened = {}
    for name in chosen:
        network = Segmentor(model, len(config.data.classes), representation, channels=config.data.channels)
        network = network.to(device)
        try:
            network.load_state_dict(states[name])
        except RuntimeError as error:
            raise UserError(f"{path}: its {name} does not fit {model.architecture}: {str(error)[:200]}") from None
        opened[name] = network.eval()
    return Trained(config, opened, epochs_done, device, sha256)


@contextmanager
def _local(path: str) -> Iterator[str]:
    """`path`, or while the context lasts a copy of what it names by URI."""
    if "://" not in path:
        yield path
        return
    from ray.train import Checkpoint

    try:
        with Checkpoint(path.rstrip("/")).as_directory() as folder:
            yield folder
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


@dataclass(frozen=True)
class Scores:
    """How networks do on a split.

    Attributes:
        items: the images scored, in the split's order.
        metrics: `val/...` of the student, `val/teacher/...` of the teacher.
    """

    items: tuple[Item, ...]
    metrics: dict[str, float]


def score(trained: Trained, config: Config, split: Literal["val", "test"], boundary: float = 0.0) -> Scores:
    """Score networks on a split.

    Args:
        trained: the networks.
        config: resolved; its data are scored on, seen as its `evaluation` section says.
        split: of the data; val is the list of that name, where there is one, whatever trials were compared on.
        boundary: also compute Boundary IoU, of contours this wide (a share of the image's diagonal); 0: do not.

    Raises:
        UserError: the data does not fit the networks, or its images the memory.
    """
    classes = config.data.classes
    _refuse_other(config.data, trained.config.data)
    batches = EvaluationBatches(config.model_copy(update={"data": official(config.data)}), split)
    count, networks = len(classes), list(trained.networks.values())
    pairs = [torch.zeros(count, count, dtype=torch.int64, device=trained.device) for _ in networks]
    contours = [torch.zeros(3, count, dtype=torch.int64) for _ in networks]
    at_once = f"{split}: {config.train.eval_batch_size} images at once are"
    with enough_memory(at_once, "give a smaller --window or train.eval_batch_size"):
        for labels, predicted in predictions(networks, batches, trained.device, config.evaluation):
            for one, matrix, near in zip(predicted, pairs, contours, strict=True):
                matrix += count_pairs(labels, one, count)
                if boundary:
                    near += boundary_counts(labels, one, count, boundary)
    metrics: dict[str, float] = {}
    for name, matrix, near in zip(trained.networks, pairs, contours, strict=True):
        metrics |= scores(matrix, classes, teacher=name == "teacher")
        if boundary:
            metrics |= boundary_scores(near, classes, teacher=name == "teacher")
    return Scores(batches.split, metrics)


def _refuse_other(data: DataConfig, trained: DataConfig) -> None:
    """Refuse data that the networks would misread. `value_range` may differ: it belongs to the files."""
    if len(data.classes) != len(trained.classes):
        raise UserError(
            f"data.classes: the data has {len(data.classes)} classes, "
            f"the checkpoint was trained on {len(trained.classes)}"
        )
    if data.classes != trained.classes and set(data.classes) == set(trained.classes):
        raise UserError(f"data.classes: in another order than the checkpoint's: {', '.join(trained.classes)}")
    for key in ("channels", "mean", "std"):
        here, there = (list(value) if isinstance(value := getattr(of, key), tuple) else value for of in (data, trained))
        if here != there:
            raise UserError(f"data.{key}: is {here}, but the checkpoint was trained with data.{key}={there}")


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """Return a context in which want of memory, of a GPU or of the machine, becomes one line.

    Args:
        what: is too many, with its verb.
        advice: what to do.

    Raises:
        UserError: there was too little memory.
    """
    try:
        yield
        return
    except (torch.OutOfMemoryError, MemoryError):
        reason = ""
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        reason = " of this machine"
    raise UserError(f"{what} too many for the memory{reason}: {advice}")
