"""How many channels images have, how deep they are, and which values they hold: the settings that read them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from u2pl_ray.config.errors import UserError
from u2pl_ray.data.at_once import read_all
from u2pl_ray.data.image_files import DECODE_ERRORS, has_alpha, read_values

LOOKED_AT = 64
"""Images whose pixels are read; for the rest `data check` is there."""
_SAMPLE = 10_000
"""Pixels of each that are kept."""
_JPEG = (".jpg", ".jpeg")
"""Always of 8 bits, and of one or three channels as far as training goes."""
_BITS = (8, 10, 12, 14, 16)
_LEAST_STD = 1e-3


def pixel_settings(images: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """Return `channels`, `value_range`, `mean` and `std` of the data section where the defaults do not do, and why.

    Args:
        images: of which some, evenly spread, are read.
    """
    rest = [path for path in images if path.suffix.lower() not in _JPEG]
    if not rest:
        return {}, []
    looked_at = rest[:: -(-len(rest) // LOOKED_AT)]
    read = {
        path: sample for path, sample in zip(looked_at, read_all(_sample, looked_at), strict=True) if sample is not None
    }
    if not read:
        return {}, []  # `data check` names the files that can't be read
    samples, depths = _of_one_depth(read, len(rest) / len(read), len(images) - len(rest))
    if not samples:
        return {}, depths
    channels, notes = _channels(samples)
    notes = [*depths, *notes]
    samples = [sample for sample in samples if sample.shape[1] == channels]
    value_range, word = _value_range(samples)
    if channels == 1:  # repeated, as pretrained weights take three
        notes.append("images are grey: read as three equal channels (data.channels=1 reads one)")
        samples, channels = [np.repeat(sample, 3, axis=1) for sample in samples], 3
    if channels == 3 and value_range is None:
        return {}, notes
    if channels != 3 and len(rest) < len(images):
        notes.append(
            f"{len(images) - len(rest)} images are JPEG, with at most 3 channels: they do not go with the others"
        )
    low, high = value_range or (0.0, 255.0)
    scaled = np.clip((np.concatenate(samples).astype(np.float64) - low) / (high - low), 0.0, 1.0)
    scaled = np.nan_to_num(scaled)
    settings: dict[str, Any] = {"channels": channels} if channels != 3 else {}
    settings |= {} if value_range is None else {"value_range": list(value_range)}
    settings["mean"] = [round(float(value), 4) for value in scaled.mean(axis=0)]
    settings["std"] = [max(round(float(value), 4), _LEAST_STD) for value in scaled.std(axis=0)]
    return settings, [
        *notes,
        f"images have {channels} channels {word}: mean and std are those of {len(samples)} images",
    ]


def _sample(path: Path) -> np.ndarray | None:
    """Return some pixels [n, channels] of a file's own dtype; None where it can't be read. Alpha is left out."""
    try:
        values = read_values(path)
    except (UserError, *DECODE_ERRORS):
        return None
    pixels = values.reshape(-1, values.shape[2])
    pixels = pixels[:: -(-len(pixels) // _SAMPLE)]
    return pixels[:, :-1] if has_alpha(path, values) else pixels


def _of_one_depth(read: Mapping[Path, np.ndarray], each: float, jpegs: int) -> tuple[list[np.ndarray], list[str]]:
    """Return the samples of the commoner depth, 8 bits or more, and a note where there are both.

    Args:
        read: samples of files.
        each: how many files one of these stands for.
        jpegs: files of 8 bits beside.
    """
    deep = {path: sample for path, sample in read.items() if sample.dtype != np.uint8}
    flat = {path: sample for path, sample in read.items() if path not in deep}
    more, eight = round(each * len(deep)), round(each * len(flat)) + jpegs
    if not more or not eight:
        return list(read.values()), []
    kept = flat if eight >= more else deep
    return list(kept.values()), [
        f"about {more} images have more than 8 bits a channel (such as {next(iter(deep)).name}), {eight} have 8: they "
        f"do not go together. Read as {'8 bits' if kept is flat else 'the deeper ones'}, and `data check` names the "
        "others: bring all to one depth"
    ]


def _channels(samples: Sequence[np.ndarray]) -> tuple[int, list[str]]:
    """Return the commonest number of channels, colours before grey, and a note where images differ."""
    counts = Counter(sample.shape[1] for sample in samples)
    if set(counts) == {1, 3}:
        return 3, ["some images are grey, others in colour: grey is read as three equal channels"]
    channels = counts.most_common(1)[0][0]
    if len(counts) == 1:
        return channels, []
    several = " or ".join(str(number) for number in sorted(counts))
    return channels, [f"images differ: {several} channels; data.channels={channels}, and `data check` names the others"]


def _value_range(samples: Sequence[np.ndarray]) -> tuple[tuple[float, float] | None, str]:
    """Return the values that become 0 and 1 (None: 8 bits), and the words for it."""
    kinds = Counter(sample.dtype for sample in samples)
    if set(kinds) == {np.dtype(np.uint8)}:
        return None, "of 8 bits"
    values = np.concatenate([sample.ravel() for sample in samples]).astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    name = ", ".join(sorted(str(kind) for kind in kinds))
    found = f"({name}, values from {low:g} to {high:g} found)"
    if all(kind.kind in "ui" for kind in kinds) and low >= 0 and high < 2 ** _BITS[-1]:
        bits = next(bits for bits in _BITS if high < 2**bits)
        return (0.0, 2.0**bits - 1), f"of {bits} bits {found}"
    for bounds in ((0.0, 1.0), (-1.0, 1.0)):
        if bounds[0] <= low < high <= bounds[1]:
            return bounds, f"from {bounds[0]:g} to {bounds[1]:g} {found}"
    low, high = (float(f"{value:.3g}") for value in np.percentile(values, (0.5, 99.5)))
    high = high if high > low else low + 1.0
    return (low, high), f"clipped to {low:g}..{high:g}, where 99 % of them are {found}"
