"""What a model does not read of a prompt is said, and it is exactly what its tokenizer cuts off."""

from pathlib import Path
from typing import Any

import pytest

from engine.generation.prompt_length import unread_end, unread_notes
from engine.generation.request import GenerationRequest

WORDS = "red circle moving left, a blue star"


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_the_end_that_is_not_read_is_what_the_tokenizer_cuts(tiny_model: str, tiny_family: Any, count: int) -> None:
    """The toy model reads 16 tokens."""
    from engine.config.presets import load_preset

    prompt = " ".join(["circle"] * (count - 1) + ["star"])
    end = unread_end(load_preset("models", tiny_model), prompt)
    read = prompt.removesuffix(end).strip()
    embeds = [tiny_family.encode([words]).embeds for words in (prompt, read)]
    assert bool(end) == (len(tiny_family.tokenizer(prompt).input_ids) > 16)
    assert embeds[0].equal(embeds[1]), "leaving the end away changes nothing"


def test_a_note_names_the_prompt_and_its_end(tiny_model: str) -> None:
    long = f"{WORDS} " * 3 + "at night"
    notes = unread_notes(GenerationRequest(prompt=WORDS, negative_prompt=long, model=tiny_model))
    (note,) = notes
    assert note.startswith("The negative prompt is longer than the model reads") and note.endswith("at night'.")
    assert unread_notes(GenerationRequest(prompt=WORDS, model=tiny_model)) == ()


def test_a_long_end_is_shown_in_part(tiny_model: str) -> None:
    (note,) = unread_notes(GenerationRequest(prompt="star " * 300, model=tiny_model))
    assert len(note) < 200 and "…" in note


def test_mini_reads_128_tokens(mini_folder: Path) -> None:
    assert unread_notes(GenerationRequest(prompt="star " * 127)) == ()
    assert unread_notes(GenerationRequest(prompt="star " * 128 + "moon")) != ()


def test_nothing_is_said_where_the_tokenizer_is_not_here(tiny_model: str, tmp_path: Path) -> None:
    from engine.config.presets import load_preset

    for source in (str(tmp_path), "nobody/nothing"):
        preset = load_preset("models", tiny_model).model_copy(update={"source": source})
        assert unread_end(preset, "star " * 500) == ""


def test_asking_loads_no_torch() -> None:
    import subprocess
    import sys

    program = "import sys, engine.generation.prompt_length, engine.data.adapters; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
