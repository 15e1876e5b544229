"""What a model does not read of a prompt is said, and it is exactly what its tokenizer cuts off."""

from pathlib import Path
from typing import Any

import pytest

from engine.generation.prompt_length import truncation_warnings, unknown_words, unread_end
from engine.generation.prompt_tokenizers import open_prompt_tokenizer
from engine.request import GenerationRequest

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
    notes = truncation_warnings(GenerationRequest(prompt=WORDS, negative_prompt=long, model=tiny_model))
    (note,) = notes
    assert note.startswith("The negative prompt is longer than the model reads") and note.endswith(
        "at night' is ignored."
    )
    assert truncation_warnings(GenerationRequest(prompt=WORDS, model=tiny_model)) == ()


def test_a_long_end_is_shown_in_part(tiny_model: str) -> None:
    (note,) = truncation_warnings(GenerationRequest(prompt="star " * 300, model=tiny_model))
    assert len(note) < 200 and "…" in note


def test_mini_reads_128_tokens(mini_folder: Path) -> None:
    assert truncation_warnings(GenerationRequest(prompt="star " * 127)) == ()
    assert truncation_warnings(GenerationRequest(prompt="star " * 128 + "moon")) != ()


def test_words_that_mini_does_not_know_are_named_once(mini_folder: Path) -> None:
    assert unknown_words("mini", "A purple dragon over a wide meadow, dragon") == ["dragon", "wide"]
    assert unknown_words("mini", "a large red circle moving left over a meadow") == []


def test_nothing_is_said_where_the_tokenizer_is_not_here(tiny_model: str, tmp_path: Path) -> None:
    from engine.config.presets import load_preset

    for source in (str(tmp_path), "nobody/nothing"):
        preset = load_preset("models", tiny_model).model_copy(update={"source": source})
        assert unread_end(preset, "star " * 500) == ""


def test_asking_loads_no_torch() -> None:
    import subprocess
    import sys

    program = "import sys, engine.generation.prompt_length, engine.runs.adapters; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


PROMPTS = (
    "a red circle moving left, over the meadow; at night it's 3 o'clock",
    "Ein  großer Hund\tläuft – schnell!",
    "an unbelievably supercalifragilistic sunset",
)


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentencepiece model as T5's folders have it, and nothing else."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("t5")
    text = folder.parent / "text.txt"
    text.write_text("\n".join([*PROMPTS, WORDS] * 50), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "spiece"), vocab_size=50, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        minloglevel=2,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vocabulary and merges of a small CLIP tokenizer, as Stable Diffusion's folder has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("clip")
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|startoftext|>", "<|endoftext|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, end_of_word_suffix="</w>", initial_alphabet=alphabet
    )
    learner.train_from_iterator([word for text in [*PROMPTS, WORDS] * 20 for word in text.lower().split()], trainer)
    learner.model.save(str(folder))
    return folder


def test_t5_tokens_are_those_of_transformers(t5_folder: Path) -> None:
    from transformers import T5Tokenizer

    own, theirs = open_prompt_tokenizer(t5_folder), T5Tokenizer.from_pretrained(t5_folder, extra_ids=0)
    for prompt in PROMPTS:
        ends = own.token_ends(prompt)
        assert len(ends) + own.num_special == len(theirs(prompt).input_ids)
        assert ends == sorted(ends) and ends[-1] == len(prompt)


def test_clip_tokens_are_those_of_transformers(clip_folder: Path) -> None:
    from transformers import CLIPTokenizer

    own, theirs = open_prompt_tokenizer(clip_folder), CLIPTokenizer.from_pretrained(clip_folder)
    for prompt in PROMPTS:
        ends = own.token_ends(prompt)
        assert len(ends) + own.num_special == len(theirs(prompt).input_ids)
        assert ends == sorted(ends) and ends[-1] == len(prompt)


@pytest.mark.parametrize(("fixture", "special", "tokens"), [("t5_folder", 1, 128), ("clip_folder", 2, 77)])
def test_the_end_is_found_with_every_tokenizer_file(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, special: int, tokens: int
) -> None:
    import shutil

    from engine.config.presets import load_preset

    shutil.copytree(request.getfixturevalue(fixture), tmp_path / "tokenizer")
    preset = load_preset("models", "ltx" if fixture == "t5_folder" else "animatediff_sd15")
    preset = preset.model_copy(update={"source": str(tmp_path)})
    room = tokens - special
    per_word = len(open_prompt_tokenizer(tmp_path / "tokenizer").token_ends("red red")) - len(
        open_prompt_tokenizer(tmp_path / "tokenizer").token_ends("red")
    )
    words = ["red"] * (room // per_word)
    assert unread_end(preset, " ".join(words)) == ""
    assert unread_end(preset, " ".join([*words, "red", "red"])).endswith("red")
