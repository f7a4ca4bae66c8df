"""Using a checkpoint: its networks, their score on a split, and predictions on images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from u2pl_ray.config.errors import UserError
from u2pl_ray.config.overrides import validate
from u2pl_ray.config.schema import Config
from u2pl_ray.data.image_files import read_image
from u2pl_ray.data.loaders import EvaluationBatches
from u2pl_ray.data.transforms import normalise
from u2pl_ray.data.voc import official
from u2pl_ray.models.segmentor import Segmentor
from u2pl_ray.train.checkpoint import load_for_user
from u2pl_ray.train.evaluate import confusion, predict, scores


@dataclass
class Trained:
    """A checkpoint's networks, in eval mode, with the configuration they were trained with."""

    config: Config
    student: Segmentor
    teacher: Segmentor
    epochs_done: int
    device: torch.device


def open_checkpoint(path: str) -> Trained:
    """The networks of the checkpoint at `path` (its folder or file, or its folder's URI), on the GPU if there is one.

    Raises:
        UserError: no readable checkpoint there, or one of another version of the networks.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _local(path) as folder:
        state = load_for_user(folder, device)
    config = validate(state["config"], f"{path}: its config")
    # The weights are in the checkpoint: do not fetch pretrained ones first.
    model = config.model.model_copy(update={"encoder_weights": None})
    networks = []
    for name in ("student", "teacher"):
        network = Segmentor(model, len(config.data.classes), config.method.contrasts, channels=config.data.channels)
        network = network.to(device)
        try:
            network.load_state_dict(state[name])
        except RuntimeError as error:
            raise UserError(f"{path}: its {name} does not fit {model.architecture}: {str(error)[:200]}") from None
        networks.append(network.eval())
    return Trained(config, networks[0], networks[1], state["epochs_done"], device)


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


def score(trained: Trained, config: Config, split: Literal["val", "test"]) -> tuple[int, dict[str, float]]:
    """Number of images and `val/...` scores of student and teacher on a split of `config` (resolved).

    Raises:
        UserError: the data has other classes than the checkpoint.
    """
    if len(config.data.classes) != len(trained.config.data.classes):
        raise UserError(
            f"data.classes: the data has {len(config.data.classes)} classes, "
            f"the checkpoint was trained on {len(trained.config.data.classes)}"
        )
    config = config.model_copy(update={"data": official(config.data)})
    batches = EvaluationBatches(config, split)
    matrices = confusion([trained.student, trained.teacher], batches, len(config.data.classes), trained.device)
    student, teacher = matrices
    classes = config.data.classes
    return batches.images, scores(student, classes) | scores(teacher, classes, teacher=True)


def predictions(
    trained: Trained, images: Sequence[Path], network: Literal["student", "teacher"]
) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    """For each image its path, its pixels (see `read_image`), and the predicted classes uint8 [h, w]."""
    model = getattr(trained, network)
    for path in images:
        pixels = read_image(path, trained.config.data)
        height, width = pixels.shape[:2]
        padded = normalise(pixels, trained.config.data).unsqueeze(0).to(trained.device)
        yield path, pixels, predict(model, padded)[0, :height, :width].to(torch.uint8).cpu().numpy()
