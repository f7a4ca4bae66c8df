"""Random draws as a function of (seed, step, stream): nothing to save, nothing that depends on the workers.

A draw is made for the whole global batch on every worker, which then uses its own slice; so a training gives the same
draws on 1, 2 or 4 workers, and a resumed one the same as one never stopped. A stream has a name of its own, so that
switching a part of a training off changes no draw of another part: common random numbers.
"""

import hashlib

import torch


def derived_seed(seed: int, step: int, stream: str) -> int:
    """Return a 63-bit seed that depends on nothing but its arguments.

    Args:
        seed: the training's seed, of any size.
        step: global optimizer step, 0-based.
        stream: name of what is drawn (such as "mixing"); different streams are independent.
    """
    digest = hashlib.blake2b(f"{seed}/{step}/{stream}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(device: torch.device | str, seed: int, step: int, stream: str) -> torch.Generator:
    """Return a generator that depends on nothing but its arguments.

    Args:
        device: where the draws are made. CPU and CUDA generators give different numbers for the same seed.
        seed: see `derived_seed`.
        step: see `derived_seed`.
        stream: see `derived_seed`.

    Never synchronises the device: the state is set from the host.
    """
    return torch.Generator(device).manual_seed(derived_seed(seed, step, stream))
