"""NFT on mini: the trained mix rises, and so does the judge, who is in no reward, on prompts not trained on."""

import sys

from proving import options
from proving_online import prove_online

from engine.training.config import VideoNFTConfig
from engine.training.nft_trainer import VideoNFTTrainer

if __name__ == "__main__":
    chosen = options(__doc__ or "")
    sys.exit(
        prove_online(
            "nft",
            VideoNFTTrainer,
            lambda **common: VideoNFTConfig(**common, mixing=1.0, beta=1e-4, levels_per_clip=2, num_iterations=2),
            updates=4 if chosen.short else 40,
            learning_rate=6e-4,
            short=chosen.short,
            seed=chosen.seed,
        )
    )
