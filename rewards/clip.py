"""`Clip`: the decoded frames that rewards score."""

from dataclasses import dataclass

import numpy as np

from rewards.errors import RewardError


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip: `frames` `uint8[T,H,W,3]` RGB, `fps` in 1/s, and its `prompt` ("" without one).

    `seams` are the frame indices at which generation windows meet (empty when the clip was generated in one window).
    Raises RewardError when the frames have another shape or type.
    """

    frames: np.ndarray
    fps: float
    prompt: str = ""
    seams: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        shape, dtype = getattr(self.frames, "shape", None), getattr(self.frames, "dtype", None)
        if shape is None or len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8 or 0 in shape:
            given = f"the type {type(self.frames).__name__}" if shape is None else f"{dtype}{list(shape)}"
            raise RewardError(f"A clip needs frames uint8[T,H,W,3] with T >= 1, but got {given}.")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise RewardError(f"A clip needs a positive frame rate, but got fps={self.fps}.")

    @property
    def num_frames(self) -> int:
        return int(self.frames.shape[0])

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    @property
    def seconds(self) -> float:
        return self.num_frames / self.fps
