"""Two processes, each with a shard of every tensor; `test_distributed.py` (slow) has the other modes."""

from pathlib import Path

import pytest

from .ranks import ACCELERATE_FSDP, DPO, FLOAT32_SUMS, PLAIN_STEPS, difference, job, launch, run_here, told

FEW = {"num_steps": 8, "student_steps": 2, "target": "consistency", "max_steps": 2, "huber": 1.0}
DISTIL = {"kind": "distill", "settings": {**PLAIN_STEPS, **FEW}}
"""A student that learns from random points of the teacher's steps, of which the last need a pass less."""


@pytest.mark.timeout(900)
def test_two_shards_make_the_update_of_one_process(tiny_folder: Path, python: str, tmp_path: Path) -> None:
    whole, shards = tmp_path / "whole", tmp_path / "shards"
    of_four, of_two = {"rollout_clips": 4}, {"rollout_clips": 2}
    run_here(
        [
            job(DPO, whole / "dpo", tiny_folder, 4),
            job(DISTIL, whole / "distill", tiny_folder, 4, settings=of_four),
        ]
    )
    jobs = [
        job(DPO, shards / "dpo", tiny_folder, 2),
        job(DISTIL, shards / "distill", tiny_folder, 2, settings=of_two),
    ]
    launch(jobs, tmp_path, python, **ACCELERATE_FSDP)
    for kind, most in (("dpo", FLOAT32_SUMS), ("distill", 4 * FLOAT32_SUMS)):
        assert [(one["world"], one["sharded"]) for one in told(shards / kind)] == [(2, True)] * 2
        assert difference(whole / kind, shards / kind) <= most
