"""Notes on the metrics of training for the documentation: meaning, healthy range, what to do otherwise."""

METRIC_NOTES: dict[str, tuple[str, str, str]] = {
    "reward": (
        "mean reward of the clips of an update, on the trained mix",
        "rises slowly, with noise of about `reward_std`",
        "flat for 50 updates: raise `learning_rate`, or choose a reward that differs between the clips of a prompt; "
        "a jump: look at the samples and alarms",
    ),
    "reward_std": (
        "standard deviation of the rewards of an update",
        "well above 0, and it falls slowly",
        "near 0: the clips have become alike; lower `learning_rate`, set `beta` above 0",
    ),
    "frac_reward_zero_std": (
        "share of the groups whose clips all have the same reward, from which nothing is learned",
        "below 0.5",
        "larger `num_generations`, other prompts, or another reward",
    ),
    "loss": (
        "loss of the algorithm; with GRPO it is near 0 and tells nothing about progress",
        "finite; DPO and KTO: below their first value",
        "not a number: lower `learning_rate`",
    ),
    "kl": (
        "KL divergence from the model before training (GRPO and AWM: only with `beta` above 0)",
        "rises slowly",
        "rises fast while held-out rewards fall: raise `beta` or lower `learning_rate`",
    ),
    "ratio/spread": (
        "largest absolute log ratio of the trained and the rollout's policy (GRPO)",
        "of the order of `epsilon`; 0 where each batch of clips has one update",
        "far above `epsilon`: lower `learning_rate`",
    ),
    "clip_ratio": (
        "share of the steps whose gradient the clip range removed (GRPO)",
        "0 to 0.3; 0 where each batch of clips has one update",
        'above 0.5: raise `epsilon` or lower `learning_rate`, see preflight\'s "Clip range"',
    ),
    "grad_norm": (
        "norm of the gradient before clipping",
        "steady",
        "single peaks are clipped by `max_grad_norm`; steady growth: lower `learning_rate`",
    ),
    "rollout/staleness": (
        "updates between the weights that made the clips and those that train on them",
        "0; 1 or more with `num_iterations`, `generation_batch_size` or actors",
        "growing: more actors than the trainer can use",
    ),
    "time/rollout": ("s to generate the clips of an update", "the largest part of an update", "fewer `num_steps`"),
    "time/score": ("s of waiting for rewards", "small", "put `DAILIES_REWARD_DEVICE` on a GPU, or a faster mix"),
    "memory/reserved": (
        "peak of the device's memory that PyTorch holds, GiB",
        "below the device's memory",
        'see the settings that preflight\'s "Memory" names',
    ),
    "rewards/accuracies": (
        "share of the pairs that the implicit reward orders as the labellers did (DPO)",
        "rises from 0.5",
        '0.5: see preflight\'s "Strength of the loss"; 1.0 early: the pairs are overfitted, stop earlier',
    ),
    "rewards/margins": (
        "difference of the implicit rewards of chosen and rejected clips (DPO)",
        "rises slowly",
        "grows without end: lower `beta`'s `error_scale` or the number of updates",
    ),
    "nft/positive": (
        "loss of DiffusionNFT's positive policy; `nft/negative` is that of the negative one",
        "both of the same order",
        "one grows: lower `learning_rate` or `mixing`",
    ),
    "awm/ratio": (
        "mean likelihood ratio of the trained and the rollout's policy (AWM)",
        "near 1",
        "far from 1: lower `learning_rate`; `awm/clipped` is the share that the clip range cuts",
    ),
    "samples/held_out/total": (
        "total of the samples by the rewards of `watch`, which are not trained on",
        "does not fall while `reward` rises",
        "falls: the trained rewards are being hacked; see [Alarms](#alarms)",
    ),
}
"""Metric -> (meaning, healthy range, what to do otherwise). Titles are those of the page."""
