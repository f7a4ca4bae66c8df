"""The softmax of upsampled logits on CPU, a band of rows at a time: what entropy and cross entropy are made of."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from u2pl_ray.method.maps import Bands

_LOG2_E = 1 / math.log(2)
_LEAST = 1e-12  # sum of a pixel's exponentials below which a sum in float32 would lose digits


def exp_(values: Tensor) -> Tensor:
    """e^x in place, by way of 2^x: torch's exp on CPU is MKL's, a third as fast on processors it was not made for."""
    return values.mul_(_LOG2_E).exp2_()


class SoftmaxBands(Bands):
    """Bands of a softmax's exponents and exponentials, to base 2.

    What is taken off all classes of a pixel before the upsampling is off all of them after it: no softmax sees it, and
    the greatest class comes out near 0 without a search among the upsampled ones. The change of base is made before it,
    too (why: see `exp_`).
    """

    def __init__(self, logits: Tensor, size: Sequence[int]) -> None:
        logits = logits.detach().float()
        super().__init__((logits - logits.amax(1, keepdim=True)).mul_(_LOG2_E), size)
        self._powers = torch.empty_like(self._band)

    def powers(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Exponents b and 2^b [n,C,r,w], which the next band will overwrite, and sum_c 2^b [n,1,r,w].

        ln 2 * b are the logits but for a constant of each pixel; 2^b over their sum is the softmax.
        """
        exponents = self.read(rows)
        powers = self._powers[: rows.stop - rows.start].view_as(exponents.permute(2, 0, 1, 3)).permute(1, 2, 0, 3)
        total = torch.exp2(exponents, out=powers).sum(1, keepdim=True)
        if not float(total.amin()) > _LEAST:  # between neighbours that are sure of different classes
            exponents -= exponents.amax(1, keepdim=True)
            total = torch.exp2(exponents, out=powers).sum(1, keepdim=True)
        return exponents, powers, total
