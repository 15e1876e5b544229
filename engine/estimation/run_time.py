"""Time of a training run on a card by its data sheet, without finished runs. Imports no torch.

As in `engine.estimation.model_forecast`, times are FLOPs over the part of the card's peak that was reached on an H100.
"""

from engine.config.schema import TrainPreset
from engine.estimation.flops import FlopCount, forward_flop
from engine.estimation.model_forecast import DECODE_SHARE, PASS_SHARE, UPDATE_SHARE, Card
from engine.estimation.run_plan import plan
from engine.estimation.update_costs import cost_of


def run_seconds(preset: TrainPreset, card: Card) -> float | None:
    """Return the time of a run on one card, in s.

    None for a model of unknown size, or a run without `max_steps`. It is the time of network passes and of decoding.
    Scoring, samples, alarms, encoding of the data and loading come on top. Raises ConfigError for an unknown model.
    """
    planned = plan(preset)
    if planned is None or planned.steps is None:
        return None
    cost, frozen = cost_of(planned), int(planned.values["lora_rank"]) > 0
    passes = cost.forward * forward_flop(planned.shape, planned.tokens)
    updates = FlopCount(forward=0, trained=cost.trained, frozen=frozen).flop(planned.shape, planned.tokens)
    frames, width, height = (int(planned.values[name]) for name in ("num_frames", "width", "height"))
    pixels = planned.clips_per_update * frames * width * height if preset.mix is not None else 0
    decoding = pixels * planned.shape.decode_flop / int(planned.values.get("num_iterations", 1))
    flop = passes / PASS_SHARE + updates / UPDATE_SHARE + decoding / DECODE_SHARE
    return planned.steps * flop / (card.tflops * 1e12)
