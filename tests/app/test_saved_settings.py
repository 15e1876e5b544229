"""Saved settings of the Generate form, plurals, and comparisons with the base model."""

from collections.abc import Callable
from typing import Any, cast

import gradio as gr
import pytest

from app.context import AppContext
from app.forms import saved_settings
from app.forms.generation_form import FIELDS, SAVED
from app.tabs.generate import GenerateTab
from app.text import batches, general, generate, training
from app.views import clips
from engine.errors import ConfigError
from engine.storage.library import ClipRecord

MakeClip = Callable[..., ClipRecord]


@pytest.fixture
def tab(context: AppContext, open_tab: Any) -> GenerateTab:
    return cast(GenerateTab, open_tab(lambda tab: GenerateTab(context, tab)))


def typed(tab: GenerateTab, **changes: Any) -> list[Any]:
    """The form's values as it opens, with some changed."""
    opened = {name: update.get("value") for name, update in zip(FIELDS, tab.form.start(), strict=True)}
    return list({**opened, "adapters": {"rows": []}, "mix": "", "mode": "direct", "takes": 3, **changes}.values())


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def test_settings_are_saved_applied_deleted_and_restored(tab: GenerateTab, context: AppContext) -> None:
    saved = tab.save_settings(
        event(title="  Quick  draft "), *typed(tab, prompt="a ball", num_steps=5, guidance=1.5, negative_prompt="rain")
    )
    (row,) = saved["rows"]
    assert (row["title"], row["line"]) == ("Quick draft", "mini, 33 frames, 5 steps")
    updates = dict(zip(FIELDS, tab.apply_settings(event(id=row["id"])), strict=True))
    changed = {name: update["value"] for name, update in updates.items() if "value" in update and name != "adapters"}
    assert changed | {"num_steps": 5, "guidance": 1.5, "negative_prompt": "rain", "takes": 3, "mix": ""} == changed
    assert all("value" not in updates[name] for name in FIELDS if name not in SAVED), "prompt and seed stay"
    with pytest.raises(ConfigError, match="exist already"):
        tab.save_settings(event(title="quick draft"), *typed(tab))
    with pytest.raises(ConfigError, match="Enter a name"):
        tab.save_settings(event(title=" "), *typed(tab))
    gone = saved_settings.delete(context, row["id"])
    assert gone["rows"] == [] and gone["deleted"]["title"] == "Quick draft"
    with pytest.raises(ConfigError, match="no longer exist"):
        tab.apply_settings(event(id=row["id"]))
    assert saved_settings.restore(context, row["id"])["rows"] == [row]


def test_a_damaged_file_of_settings_is_listed_and_changes_nothing(tab: GenerateTab, context: AppContext) -> None:
    folder = saved_settings.folder(context)
    folder.mkdir(parents=True)
    (folder / "broken.json").write_text("{")
    (folder / "odd.json").write_text(
        '{"title": "odd", "values": {"num_steps": "many", "model": "gone", "prompt": "x"}}'
    )
    assert [row["title"] for row in saved_settings.listing(context)["rows"]] == ["broken", "odd"]
    for key in ("broken", "odd"):
        updates = dict(zip(FIELDS, tab.apply_settings(event(id=key)), strict=True))
        assert updates["model"]["value"] == "mini" and "value" not in updates["prompt"]


def test_the_base_model_comes_first_and_is_named(make_clip: MakeClip) -> None:
    tuned = make_clip(score=0.9, adapter="tuned", seed=7)
    base = make_clip(score=0.2, seed=7)
    captions = clips.captions([base, tuned])
    assert general.of_base("mini") in captions[0] and "base" not in captions[1]
    assert "base" not in clips.captions([base, make_clip(seed=8)])[0], "no adapter is there to compare with"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (batches.shape([("prompt", 2), ("seed", 1)]), "2 prompts x 1 seed"),
        (batches.shape([("guidance", 1), ("steps", 2)]), "1 guidance value x 2 numbers of steps"),
        (batches.shape([("strength", 3)]), "3 strengths"),
        (
            training.pairs(1, 2, 1, 8, 1),
            "1 preferred pair of 2 voted on (1 vote); 8 per update; an epoch has 1 update.",
        ),
        (general.length(1, 8.0), "1 frame, 0.1 s at 8 FPS"),
        (generate.settings_line({"num_frames": 1, "num_steps": None}), "1 frame"),
    ],
)
def test_one_is_not_plural(said: str, words: str) -> None:
    assert said.startswith(words)
