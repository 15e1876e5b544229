"""Two processes, each with a shard of every tensor; `test_distributed.py` (slow) has the other modes."""

from pathlib import Path

import pytest

from .ranks import ACCELERATE_FSDP, DPO, FLOAT32_SUMS, difference, job, launch, run_here, told


@pytest.mark.timeout(900)
def test_two_shards_make_the_update_of_one_process(tiny_folder: Path, python: str, tmp_path: Path) -> None:
    whole, shards = tmp_path / "whole", tmp_path / "shards"
    run_here([job(DPO, whole, tiny_folder, 4)])
    launch([job(DPO, shards, tiny_folder, 2)], tmp_path, python, **ACCELERATE_FSDP)
    assert [(one["world"], one["sharded"]) for one in told(shards)] == [(2, True)] * 2
    assert difference(whole, shards) <= FLOAT32_SUMS
