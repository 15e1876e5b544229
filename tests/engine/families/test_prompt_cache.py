"""Encoded prompts on disk: the same embeddings again, for the same text encoder only, and nothing torn is believed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.families.base import DiffusersFamily
from engine.families.loading import on_device
from engine.families.prompt_cache import PromptCache
from engine.family_interface import Conditioning
from engine.training.data.prompt_embeddings import TEXT_MULTIPLE, without_padding

PROMPTS = ["a red circle", "the blue star"]


@pytest.fixture
def calls(tiny_family: Any) -> Iterator[list[int]]:
    """How many prompts the text encoder was given, call by call."""
    seen: list[int] = []
    hook = tiny_family.text_encoder.register_forward_pre_hook(lambda network, inputs: seen.append(len(inputs[0])))
    yield seen
    hook.remove()


def test_a_prompt_is_encoded_once(tiny_family: Any, tmp_path: Path, calls: list[int]) -> None:
    cache = PromptCache(tmp_path / "prompts")
    first = cache.encode(tiny_family, PROMPTS)
    again = PromptCache(tmp_path / "prompts").encode(tiny_family, [PROMPTS[1], PROMPTS[0], PROMPTS[1]])
    assert calls == [1, 1] and again.embeds.shape[0] == 3
    assert torch.equal(again.rows([1, 0]).embeds, first.embeds)
    assert again.mask is not None and first.mask is not None and torch.equal(again.rows([1, 0]).mask, first.mask)
    cache.encode(tiny_family, [*PROMPTS, "a meadow"])
    assert calls == [1, 1, 1], "only what is new is encoded, and alone: its row must not depend on its company"


def test_every_part_of_the_conditioning_is_kept(tiny_open: SimpleNamespace, tmp_path: Path) -> None:
    """For each family: masks and pooled vectors too."""
    family, cache = tiny_open.family, PromptCache(tmp_path)
    fresh = family.encode(PROMPTS)
    cache.encode(family, PROMPTS)
    kept = cache.encode(family, PROMPTS)
    assert torch.allclose(kept.embeds, fresh.embeds, atol=1e-5)
    assert (kept.mask is None) == (fresh.mask is None)
    assert set(kept.extras or {}) == set(fresh.extras or {})
    for name, value in (fresh.extras or {}).items():
        assert torch.allclose((kept.extras or {})[name], value, atol=1e-5)


MASKED = ("hunyuanvideo", "hunyuanvideo15", "kandinsky5", "ltx", "ltx2", "mochi")


@pytest.mark.toys(lambda model: model.family in MASKED)
@pytest.mark.alike
def test_padding_that_is_left_out_changes_no_prediction(tiny_open: SimpleNamespace) -> None:
    """Also where it leaves no padding at all, as with a prompt of just as many tokens as are kept."""
    family, request = tiny_open.family, tiny_open.model.request
    row = replace(family.encode(PROMPTS[:1]), fps=request.fps, guidance=6.0)
    if places := tiny_open.model.places:
        given = family.encode_pictures(tiny_open.model.pictures(1), places, request.num_frames)
        row = replace(row, extras={**(row.extras or {}), **given})
    assert row.mask is not None
    mask = torch.zeros_like(row.mask)
    mask[:, :TEXT_MULTIPLE] = True
    full = replace(row, mask=mask)
    short = without_padding(full)
    assert short.mask is not None and short.mask.shape[1] == TEXT_MULTIPLE and short.mask.all()
    latents, sigma = family.init_latents(request, [torch.Generator().manual_seed(0)]), torch.tensor([0.7])
    torch.testing.assert_close(
        family.predict(latents, sigma, short), family.predict(latents, sigma, full), rtol=1e-4, atol=1e-5
    )


class Wanderer:
    """In place of a text encoder: where it is, and where it went."""

    def __init__(self) -> None:
        self.device, self.went = "cpu", []

    def to(self, device: str) -> None:
        self.went += [device] if device != self.device else []
        self.device = device


class Waiting(DiffusersFamily):
    """Its text encoder waits off the device; what it reads in a prompt is its length."""

    text_key, device, network = "waiting", "there", SimpleNamespace(device="cpu")

    def __init__(self) -> None:
        self.text_encoder = Wanderer()

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        with on_device(self.text_encoder, self.device):
            return Conditioning(embeds=torch.tensor([[[float(len(prompt))]] for prompt in prompts]))


def test_a_waiting_text_encoder_comes_once_for_all_new_prompts(tmp_path: Path) -> None:
    family, cache = Waiting(), PromptCache(tmp_path)
    assert cache.encode(family, PROMPTS).embeds.flatten().tolist() == [12, 13]
    assert family.text_encoder.went == ["there", "cpu"]
    cache.encode(family, PROMPTS)
    assert family.text_encoder.went == ["there", "cpu"], "nothing new, nobody comes"


@pytest.mark.parametrize("harm", ["torn", "flipped", "empty"])
def test_damaged_files_are_not_believed(tiny_family: Any, tmp_path: Path, calls: list[int], harm: str) -> None:
    cache = PromptCache(tmp_path)
    before = cache.encode(tiny_family, PROMPTS[:1])
    file = cache.path(tiny_family, PROMPTS[0])
    content = bytearray(file.read_bytes())
    if harm == "flipped":
        content[-5] ^= 0x40
    file.write_bytes({"torn": content[:-40], "flipped": content, "empty": b""}[harm])
    assert torch.equal(cache.encode(tiny_family, PROMPTS[:1]).embeds, before.embeds)
    assert calls == [1, 1], "encoded again, and kept again"
    assert cache.read(tiny_family, PROMPTS[0]) is not None


def test_another_text_encoder_has_other_files(tiny_folder: Path, tiny_family: Any, open_family: Any) -> None:
    cache, again = PromptCache(Path("x")), open_family(tiny_folder)
    assert cache.path(tiny_family, PROMPTS[0]) == cache.path(again, PROMPTS[0])
    again.text_key += " retrained"
    assert cache.path(tiny_family, PROMPTS[0]) != cache.path(again, PROMPTS[0])


def test_a_folder_that_cannot_be_written_does_no_harm(
    tiny_family: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = PromptCache(tmp_path / "file" / "prompts")
    assert cache.encode(tiny_family, PROMPTS).embeds.shape[0] == 2
    assert "cannot be cached" in caplog.text
