"""`VideoSFTTrainer`: supervised fine-tuning on clips with captions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from engine.family_interface import ModelFamily
from engine.training.clip_settings import VideoSFTConfig
from engine.training.trainers.clip_data import ClipDataTrainer


class VideoSFTTrainer(ClipDataTrainer):
    """SFT trainer. Rows of `train_dataset` have prompt and chosen, the clip (see `clip_latents`)."""

    args: VideoSFTConfig

    def __init__(
        self,
        model: ModelFamily | str,
        args: VideoSFTConfig | None = None,
        train_dataset: Sequence[Mapping[str, Any]] | Any = None,
        **others: Any,
    ) -> None:
        super().__init__(model, args or VideoSFTConfig(), train_dataset, **others)

    def losses(self, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Tensor]:
        """Yield one part: the mean squared error of the network's output on noisy clips."""
        errors = self.clip_errors(inputs, self.requests_after_dropout(inputs))()
        self.log_metric(**{"error/chosen": errors.detach()})
        yield errors.mean()
