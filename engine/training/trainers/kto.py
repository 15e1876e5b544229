"""`VideoKTOTrainer`: KTO on clips labelled good or bad (loss: `engine.algorithms.kto`)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import kto
from engine.errors import ConfigError
from engine.family_interface import ModelFamily
from engine.training.clip_settings import VideoKTOConfig
from engine.training.distributed.process_group import all_gather_rows
from engine.training.trainers.clip_data import ClipDataTrainer


class VideoKTOTrainer(ClipDataTrainer):
    """KTO trainer. Rows of `train_dataset` have prompt, chosen (the clip) and label: True for a good clip.

    Metrics have TRL's names: rewards/chosen for good clips, rewards/rejected for bad ones.
    """

    args: VideoKTOConfig

    def __init__(
        self,
        model: ModelFamily | str,
        args: VideoKTOConfig | None = None,
        train_dataset: Sequence[Mapping[str, Any]] | Any = None,
        **others: Any,
    ) -> None:
        wrong = next((row for row in train_dataset or () if not isinstance(row.get("label"), bool)), None)
        if wrong is not None:
            raise ConfigError(
                f"A row for KTO has the label {wrong.get('label')!r}: it must be true for a good clip or false for a "
                "bad one."
            )
        super().__init__(model, args or VideoKTOConfig(), train_dataset, **others)

    def losses(self, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Tensor]:
        """Yield one part; the reference point is the mean over the batches of all processes."""
        args, scale = self.args, self.args.scale_of(self.family.spec.prediction)
        errors = self.clip_errors(inputs, self.requests_of(inputs))
        with self.reference.applied(), torch.no_grad():
            before = errors()
        ratio = kto.log_ratio(errors(), before, scale)
        good = torch.tensor([row["label"] for row in inputs], device=ratio.device)
        terms = kto.kto_loss(
            ratio,
            good,
            all_gather_rows(ratio.detach()).mean(),
            beta=args.beta,
            good_weight=args.desirable_weight,
            bad_weight=args.undesirable_weight,
        )
        for name, rows in (("rewards/chosen", good), ("rewards/rejected", ~good)):
            if rows.any():
                self.log_metric(**{name: terms.rewards[rows]})
        self.log_metric(beta_eff=args.beta_eff(self.family.spec.prediction))
        yield terms.loss.mean()
