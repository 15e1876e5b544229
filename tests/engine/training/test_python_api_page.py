"""The examples of docs/python-api.md, run in order as they are printed, on the tiny model."""

from pathlib import Path

import pytest

from engine.config.presets import load_preset

PAGE = Path(__file__).parents[3] / "docs" / "python-api.md"
MODEL = '"mini"'


def examples() -> list[str]:
    """The Python blocks of the page."""
    return [block.split("```")[0] for block in PAGE.read_text(encoding="utf-8").split("```python\n")[1:]]


def test_the_examples_run(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They train on all defaults but the model: three epochs over one pair, and over one prompt."""
    monkeypatch.chdir(tmp_path)
    blocks = examples()
    assert len(blocks) == 5 and sum(block.count(MODEL) for block in blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(block.replace(MODEL, f'"{tiny_model}"').replace('"motion"', '"tiny"'), names)
    assert 0 <= names["total"] <= 1
    assert [clip.prompt for clip in names["clips"]] == ["a red circle moving left"] * 2
    assert names["found"].accuracies.tolist() == [1.0]
    assert names["mix"] == load_preset("rewards", "tiny")
    assert list(tmp_path.rglob("trainer_state.json"))  # both trainers write into the same folder
