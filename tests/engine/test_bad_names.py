"""Names from a form or an address that no file can have: an error in one sentence, not an exception of the system."""

import pytest

from engine.config.data_sets import find_clips
from engine.config.presets import load_model_preset
from engine.config.prompts import find_prompts
from engine.errors import ConfigError
from engine.runs.curriculum_state import Curriculum
from engine.runs.run import Run
from engine.runs.samples import RunSamples
from engine.workspace import Workspace, is_name

BAD = {
    "long": "x" * 300,
    "long in bytes": "ß" * 120,
    "NUL": "a\0b",
    "control": "a\nb",
    "surrogate": "a\ud800",
    "path": "../a",
    "absolute": "/etc",
    "up": "..",
    "empty": "",
}


@pytest.mark.parametrize("name", BAD.values(), ids=BAD)
def test_a_name_that_no_file_has_is_unknown(workspace: Workspace, name: str) -> None:
    assert not is_name(name)
    run = Run(workspace.runs / "a")
    (run.folder / "samples" / "a").mkdir(parents=True)
    assert RunSamples(run).file(name, "a.mp4") is None and RunSamples(run).file("a", name) is None
    for find in (lambda: Run.find(workspace, name), lambda: Curriculum.find(workspace, name)):
        with pytest.raises(ConfigError, match="There is no "):
            find()
    with pytest.raises(ConfigError, match="Unknown preset"):
        load_model_preset(name)
    with pytest.raises(ConfigError, match="There are no prompts"):
        find_prompts(name)
    find_clips(name)


@pytest.mark.parametrize("name", ["mini_dpo-1f0c2a", "Größe 3", "a.b", "x" * 200])
def test_usual_names_are_names(name: str) -> None:
    assert is_name(name)
