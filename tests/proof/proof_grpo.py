"""GRPO on mini: the trained mix rises, and so does the judge, who is in no reward, on prompts not trained on."""

import sys

from proving import options
from proving_online import prove_online

from engine.training.config import VideoGRPOConfig
from engine.training.grpo_trainer import VideoGRPOTrainer

if __name__ == "__main__":
    chosen = options(__doc__ or "")
    sys.exit(
        prove_online(
            "grpo",
            VideoGRPOTrainer,
            lambda **common: VideoGRPOConfig(**common, window=4, window_every=4, epsilon=1e-3, num_iterations=2),
            updates=4 if chosen.short else 60,
            learning_rate=6e-4,
            short=chosen.short,
            seed=chosen.seed,
        )
    )
