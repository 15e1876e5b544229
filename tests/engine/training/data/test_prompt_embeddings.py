"""Encoded prompts of a training: once in a run, and not at all where the workspace has them."""

from pathlib import Path
from typing import Any

import torch

from engine.families.prompt_cache import PromptCache
from engine.training.data import prompt_embeddings
from engine.training.data.prompt_embeddings import PromptEmbeddings

PROMPTS = ["a red circle", "a blue square moving left"]


def test_prompts_of_an_earlier_run_are_not_encoded_again(tiny_family: Any, tmp_path: Path) -> None:
    first, second, alone = (
        PromptEmbeddings(tiny_family, 8.0, disk=disk) for disk in (PromptCache(tmp_path), PromptCache(tmp_path), None)
    )
    rows = [one.rows([PROMPTS[0], *PROMPTS]) for one in (first, second, alone)]
    assert [one.encoded for one in (first, second, alone)] == [2, 0, 2]
    mask = rows[0].mask
    assert mask is not None
    for row in rows:
        assert torch.equal(row.embeds, rows[0].embeds) and row.fps == 8.0
        assert row.mask is not None and torch.equal(row.mask, mask)
    second.rows(["a meadow"])
    assert second.encoded == 1 and PromptCache(tmp_path).read(tiny_family, "a meadow") is not None


def test_a_long_list_of_prompts_does_not_fill_the_disk(tiny_family: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(prompt_embeddings, "MOST_WRITTEN", 1)
    PromptEmbeddings(tiny_family, 8.0, disk=PromptCache(tmp_path)).rows(PROMPTS)
    assert len(list(tmp_path.iterdir())) == 1
