"""Presets: shipped configurations, some of them one for each split of a published comparison.

A file of `presets/` is a configuration; or two YAML documents, of which the first says which published figures the
second one aims at. Then there is a preset for each of its splits, `<file>-<split>`, in which SPLIT stands for the
folder of the split's lists.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources

from u2pl_ray.config.yaml_text import read_yaml


@dataclass(frozen=True)
class Preset:
    """A shipped configuration.

    Attributes:
        text: YAML.
        aims: the published figure, in mIoU (%), and its source; of presets of our own, what they are for.
        differs: what is not as published.
        batch_size: labeled images a step that `optim.lr` belongs to; None where nothing is published.
    """

    text: str
    aims: str = ""
    differs: tuple[str, ...] = ()
    batch_size: int | None = None


@cache
def read_presets() -> dict[str, Preset]:
    """Read the shipped presets, by name, sorted."""
    found: dict[str, Preset] = {}
    for entry in (resources.files("u2pl_ray.config") / "presets").iterdir():
        if not entry.name.endswith(".yaml"):
            continue
        name, text = entry.name.removesuffix(".yaml"), entry.read_text("utf-8")
        head, separator, body = text.partition("\n---\n")
        if not separator:
            found[name] = Preset(text, text.splitlines()[0].removeprefix("# "))
            continue
        about = read_yaml(head)
        for split, (folder, figure) in about["splits"].items():
            aims = f"{figure} mIoU, {about['aims']} ({about['source']})"
            whole = body.replace("SPLIT", str(folder))
            found[about["name"].replace("*", str(split))] = Preset(
                whole, aims, tuple(about["differs"]), about["batch_size"]
            )
    return dict(sorted(found.items()))


def rate_note(name: str, batch_size: int, rate: float, adaptive: bool) -> str:
    """Say which learning rate belongs to another batch size than the published one; empty if there is nothing to say.

    In proportion to the batch for SGD (Goyal et al., 2017), to its square root for Adam (Malladi et al., NeurIPS 2022).

    Args:
        name: of a preset, or anything else.
        batch_size: labeled images a step of the training.
        rate: its learning rate.
        adaptive: the optimizer is of Adam's kind.
    """
    preset = read_presets().get(name)
    if preset is None or preset.batch_size is None or preset.batch_size == batch_size:
        return ""
    published = read_yaml(preset.text)["optim"]["lr"]
    if rate != published:
        return ""
    fitting = published * (batch_size / preset.batch_size) ** (0.5 if adaptive else 1.0)
    rule = "the square root of the batch" if adaptive else "the batch"
    return (
        f"optim.lr={published:g} of {name} belongs to train.batch_size={preset.batch_size}; in proportion to {rule} it "
        f"would be optim.lr={fitting:.2g} for {batch_size} (or keep {preset.batch_size} with train.micro_batch_size)"
    )
