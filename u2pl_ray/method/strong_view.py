"""The strong view: colour distortion of a batch on its device, each image by draws of its own.

As in ST++ and UniMatch (Yang et al., CVPR 2022 and 2023): brightness, contrast, saturation, hue; then grayscale; then
Gaussian blur. All before the blur is linear in the colours, and so one 3 x 3 matrix an image and a factor of contrast.
Images of more or fewer than three channels get brightness, contrast and blur: the rest has no meaning there.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from u2pl_ray.config.method import StrongViewConfig
from u2pl_ray.method.collectives import Collectives
from u2pl_ray.rng import generator

_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
_DRAWS = 8


class StrongView:
    """Makes strong views: the pixels stay where they are.

    Args:
        config: probabilities and strengths.
        mean_std: of the images' normalisation, for colours in [0, 1].
        seed: the training's.
        collectives: this worker's place in the global batch, for which the draws are made.
    """

    def __init__(
        self,
        config: StrongViewConfig,
        mean_std: tuple[Sequence[float], Sequence[float]],
        seed: int,
        collectives: Collectives,
    ) -> None:
        self.config, self.seed, self.collectives = config, seed, collectives
        device = collectives.device
        self._mean, self._std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in mean_std)
        self._colored = len(self._mean) == 3
        yiq = torch.tensor(_YIQ)
        self._gray, self._to_yiq, self._from_yiq = yiq[0].to(device), yiq.to(device), yiq.inverse().to(device)

    def __call__(self, images: Tensor, step: int, stream: str) -> Tensor:
        """Return a strong view of this worker's images.

        Args:
            images: [B,channels,h,w] float32, normalised.
            step: the draws depend on seed, step and stream.
            stream: name of the draws.
        """
        total, device = len(images) * self.collectives.world_size, images.device
        draws = torch.rand(total, _DRAWS, generator=generator(device, self.seed, step, stream), device=device)
        own = self.collectives.own(draws)
        matrix, contrast, brightness = self._colour_change(own)
        colours = images * self._std + self._mean
        means = colours.mean((2, 3))
        level = (means @ self._gray if self._colored else means.mean(1)).view(-1, 1, 1, 1)
        colours = level + contrast.view(-1, 1, 1, 1) * (colours - level)
        if self._colored:
            colours = (matrix @ colours.flatten(2)).view_as(images).clamp_(0.0, 1.0)
        else:  # brightness alone; saturation, hue and grayscale are of colours
            colours = (brightness.view(-1, 1, 1, 1) * colours).clamp_(0.0, 1.0)
        blurred = (own[:, 6] < self.config.blur).view(-1, 1, 1, 1)
        colours = torch.where(blurred, _blur(self.config, colours, own[:, 7]), colours)
        return (colours - self._mean) / self._std

    def _colour_change(self, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute each image's matrix [B,3,3] (brightness, saturation, hue, gray), contrast and brightness [B]."""
        config = self.config
        jitter = draws[:, 0] < config.jitter
        brightness, contrast, saturation = (
            torch.where(jitter, 1 + config.strength * (2 * draws[:, column] - 1), 1.0) for column in (1, 2, 3)
        )
        hue = torch.where(jitter, math.pi * config.strength * (2 * draws[:, 4] - 1), 0.0)  # half of strength turns
        saturation = torch.where(draws[:, 5] < config.grayscale, 0.0, saturation)
        along, across = saturation * hue.cos(), saturation * hue.sin()
        one, zero = torch.ones_like(hue), torch.zeros_like(hue)
        # In YIQ the hue is an angle and the saturation a radius.
        rows = torch.stack([one, zero, zero, zero, along, -across, zero, across, along], 1).view(-1, 3, 3)
        return brightness.view(-1, 1, 1) * (self._from_yiq @ rows @ self._to_yiq), contrast, brightness


def _blur(config: StrongViewConfig, images: Tensor, draws: Tensor) -> Tensor:
    """Blur each image by a Gaussian of its own: separable, reflected at the borders."""
    low, high = config.blur_sigma
    radius = min(math.ceil(3 * high), images.shape[-1] - 1, images.shape[-2] - 1)
    sigma = (low + (high - low) * draws).repeat_interleave(images.shape[1]).unsqueeze(1)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernels = (-0.5 * (offsets / sigma).square()).exp()
    kernels = (kernels / kernels.sum(1, keepdim=True)).view(-1, 1, 1, 2 * radius + 1)
    planes = images.flatten(0, 1).unsqueeze(0)
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="reflect"), kernels, groups=len(kernels))
    planes = F.conv2d(
        F.pad(planes, (0, 0, radius, radius), mode="reflect"), kernels.transpose(2, 3), groups=len(kernels)
    )
    return planes.view_as(images)
