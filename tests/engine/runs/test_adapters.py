"""Adapters of a workspace, and the models that they fit."""

import logging
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.families.lora_files import WEIGHTS_FILE
from engine.runs.adapters import AdapterCard, find_adapter, list_adapters, write_card


def put(workspace, name: str, model: str = "mini", weights: bool = True) -> Path:
    folder = workspace.adapters / name
    folder.mkdir(parents=True)
    if weights:
        (folder / WEIGHTS_FILE).write_bytes(b"weights")
    write_card(folder, AdapterCard(model=model, note="drawn for a test"))
    return folder


def test_adapters_are_listed_by_model(workspace):
    folder = put(workspace, "run-2 step 40")
    put(workspace, "other", model="ltx")
    put(workspace, "half", weights=False)
    assert [one.name for one in list_adapters(workspace, "mini")] == ["run-2 step 40"]
    assert [one.name for one in list_adapters(workspace)] == ["other", "run-2 step 40"]
    found = find_adapter(workspace, "run-2 step 40", "mini")
    assert found.folder == folder and found.card.note == "drawn for a test"


def test_adapters_are_shared_by_models_of_the_same_weights(workspace):
    put(workspace, "look", model="wan22_i2v_14b")
    assert [one.name for one in list_adapters(workspace, "wan22_flf_14b")] == ["look"]
    assert find_adapter(workspace, "look", "wan22_flf_14b").card.model == "wan22_i2v_14b"
    with pytest.raises(ConfigError, match=r"It is of 'wan22_i2v_14b'\. If it fits .* again with --model wan22_14b\."):
        find_adapter(workspace, "look", "wan22_14b")


def test_an_empty_workspace_has_none(workspace):
    assert list_adapters(workspace) == []


@pytest.mark.parametrize("name", ["run-3", "../clips", "other"])
def test_what_is_not_there_is_a_sentence(workspace, name):
    put(workspace, "run-2")
    put(workspace, "other", model="ltx")
    hint = r"It is of 'ltx'\. If it fits \(`dailies adapters ls --model mini`\)" if name == "other" else "run-2"
    with pytest.raises(ConfigError, match=f"Unknown adapter '.*' for model 'mini'.*{hint}"):
        find_adapter(workspace, name, "mini")


def test_a_card_that_cannot_be_read_is_logged_and_left_out(workspace, caplog):
    (put(workspace, "broken") / "adapter.json").write_text('{"modell": "mini"}')
    with caplog.at_level(logging.WARNING):
        assert list_adapters(workspace) == []
    assert "broken" in caplog.text
