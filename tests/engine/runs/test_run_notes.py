"""Name and tags of a run: stored, cleaned, refused in one sentence, and never in the way of the run."""

from pathlib import Path

import pytest

from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.runs.run import Run
from engine.runs.run_notes import RunNotes, adapter_title, read_notes, write_notes
from engine.workspace import Workspace


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(Workspace(tmp_path), load_train_preset("mini_nft"))


def test_name_and_tags_are_stored_cleaned(run: Run) -> None:
    assert read_notes(run) == RunNotes()
    write_notes(run, " first ", ["b", " a ", "b", ""])
    assert read_notes(run) == RunNotes(name="first", tags=("b", "a"))


@pytest.mark.parametrize(("name", "tags"), [("x" * 81, []), ("", ["y" * 41]), ("", [str(n) for n in range(13)])])
def test_what_is_too_long_is_refused_and_changes_nothing(run: Run, name: str, tags: list[str]) -> None:
    write_notes(run, "first", ["a"])
    with pytest.raises(ConfigError, match="at most 12 tags of at most 40, but got (name|tags) = .*: shorten it"):
        write_notes(run, name, tags)
    assert read_notes(run) == RunNotes(name="first", tags=("a",))


def test_a_damaged_file_reads_as_none(run: Run) -> None:
    run.notes_file.write_text('{"name": 7')
    assert read_notes(run) == RunNotes()


def test_an_adapter_has_its_runs_name(run: Run) -> None:
    assert adapter_title(run.workspace, run.id) == run.id
    write_notes(run, "softer", [])
    for adapter in (run.id, f"{run.id}-to-20", f"{run.id}@8"):
        assert adapter_title(run.workspace, adapter) == f"softer ({adapter})"
    assert adapter_title(run.workspace, "film 0.8 + ../x") == "film 0.8 + ../x"
