"""Encoded prompts of a training: once in a run, and not at all where the workspace has them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.families.prompt_cache import PromptCache
from engine.request import GenerationRequest
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


def test_padding_that_a_batch_does_not_need_is_left_out(tiny_family: Any) -> None:
    """The prediction is the same; with guidance, prompts stay as long as the negative ones."""
    latents = torch.randn(2, tiny_family.network.config.in_channels, 2, 2, 2, generator=torch.manual_seed(0))
    found = []
    for leaves_out in (False, True):
        prompts = PromptEmbeddings(tiny_family, 8.0)
        prompts.leaves_out_padding = leaves_out
        plain, guided = (
            prompts.of([GenerationRequest(prompt=prompt, guidance=guidance) for prompt in PROMPTS])
            for guidance in (1.0, 3.0)
        )
        mask = plain.mask
        assert mask is not None and mask.any(1).all()
        found.append((mask, guided.embeds.shape, tiny_family.predict(latents, torch.tensor([0.9, 0.5]), plain)))
    (whole, shape, wanted), (short, same_shape, prediction) = found
    assert short.shape[1] < whole.shape[1] and short.shape[1] % 8 == 0 and short.sum() == whole.sum()
    assert same_shape == shape
    torch.testing.assert_close(prediction, wanted, rtol=1e-5, atol=1e-6)


def test_padding_stays_in_half_precision(tiny_family: Any) -> None:
    """There, rounding depends on the shape of a batch, which rollout and replay must share."""
    rows = PromptEmbeddings(tiny_family, 8.0).rows(PROMPTS)
    half = replace(rows, embeds=rows.embeds.bfloat16())
    assert prompt_embeddings.without_padding(half) is half
    assert prompt_embeddings.without_padding(rows).embeds.shape[1] < rows.embeds.shape[1]
