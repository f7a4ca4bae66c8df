"""Random draws as a function of (seed, step, stream): nothing to save, nothing that depends on the workers.

A draw is made for the whole global batch on every worker, which then uses its own slice; so a training gives the same
draws on 1, 2 or 4 workers, and a resumed one the same as one never stopped.
"""

import hashlib

import torch


def generator(device: torch.device | str, seed: int, step: int, stream: str) -> torch.Generator:
    """A generator that depends on nothing but its arguments.

    Args:
        device: where the draws are made. CPU and CUDA generators give different numbers for the same seed.
        seed: the training's seed.
        step: global optimizer step, 0-based.
        stream: name of what is drawn (such as "mixing"); different streams are independent.

    Never synchronises the device: the state is set from the host.
    """
    digest = hashlib.blake2b(f"{seed}/{step}/{stream}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)
