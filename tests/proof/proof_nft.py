"""NFT on mini: the trained mix rises, and so does the judge, who is in no reward, on prompts not trained on."""

import sys

from proving import options
from proving_online import prove_online

if __name__ == "__main__":
    chosen = options(__doc__ or "")
    sys.exit(prove_online("nft", "mini_nft", short=chosen.short, seed=chosen.seed))
