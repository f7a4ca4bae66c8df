"""The `evaluation` section of the configuration: how the class of every pixel of an image is found."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from u2pl_ray.config.sections import Count, Scale, Section


class EvaluationConfig(Section):
    """How images are seen where networks are scored: in a training's validation, by `evaluate` and by `predict`."""

    window: Annotated[int, Field(ge=32, multiple_of=32)] | None = None
    """Side of a sliding window in pixels, a multiple of 32 (Cityscapes in the paper: 769, here 768); null: the whole
    image at once."""
    stride: Count | None = None
    """Pixels from one window to the next, at most window; null: two thirds of window, as in U2PL and UniMatch."""
    average: Literal["softmax", "logits"] = "softmax"
    """What is averaged over windows that overlap, flips and scales: probabilities (UniMatch), or logits (U2PL's
    evaluation)."""
    flip: bool = False
    """Average with the prediction for the mirrored image (or window)."""
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = (1.0,)
    """Average over the image resized by each of these factors, e.g. [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]; windows keep
    their size."""

    @model_validator(mode="after")
    def _windows_overlap(self) -> "EvaluationConfig":
        if self.stride is not None and self.window is None:
            raise ValueError("evaluation.stride needs evaluation.window: give both, or neither")
        if self.stride is not None and self.window is not None and self.stride > self.window:
            raise ValueError(
                f"evaluation.stride={self.stride} leaves gaps between windows of {self.window} pixels: "
                "use at most evaluation.window"
            )
        return self

    @property
    def step(self) -> int:
        """Pixels from one window to the next; 0 without windows."""
        return 0 if self.window is None else self.stride or -(-2 * self.window // 3)

    @property
    def single(self) -> bool:
        """Whether an image passes the network once and whole, so that nothing is averaged."""
        return self.window is None and not self.flip and self.scales == (1.0,)
