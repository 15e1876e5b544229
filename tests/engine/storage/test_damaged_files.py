"""Damaged files of a run, and values that JSON cannot hold: recovered, or set aside and reported."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest

from engine.config.presets import load_train_preset
from engine.errors import StoreError
from engine.files.atomic import write_text_atomic
from engine.request import GenerationRequest
from engine.runs.curriculum_state import AttemptRecord, ConditionResult, CurriculumState, GateResult
from engine.runs.results import Alarm, Interval, Measure
from engine.runs.run import Run
from engine.runs.samples import RunSamples
from engine.workspace import Workspace
from rewards.clip import Clip

DAMAGES = (b"", b"\xff", b'{"step": 1', b"null", b"[]")


@pytest.fixture
def kept(workspace: Workspace) -> RunSamples:
    """A run with the samples of the base and of step 2."""
    kept = RunSamples(Run.create(workspace, load_train_preset("mini_nft")))
    clip = Clip(frames=np.zeros((5, 32, 32, 3), np.uint8), fps=8.0, prompt="a red ball")
    kept.keep_requests([GenerationRequest(prompt="a red ball")])
    for step in (None, 2):
        kept.save(step, [clip], [0], [None])
    return kept


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_set_of_samples_counts_as_missing_and_is_kept_aside(
    kept: RunSamples, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (kept.folder / "base" / "set.json").write_bytes(damage)
    assert not kept.has(None) and kept.has(2)
    assert [one.step for one in kept.sets()] == [2]
    clip = Clip(frames=np.zeros((5, 32, 32, 3), np.uint8), fps=8.0, prompt="a red ball")
    with caplog.at_level(logging.WARNING):
        kept.save(None, [clip], [0], [None])
    assert [one.step for one in kept.sets()] == [None, 2] and kept.names() == ["00000002", "base"]
    (aside,) = kept.folder.glob("base.torn-*")
    assert (aside / "set.json").read_bytes() == damage and aside.name in caplog.text


def test_damaged_requests_are_named_and_can_be_set_aside(kept: RunSamples) -> None:
    kept.requests_file.write_bytes(b"\xff")
    with pytest.raises(StoreError, match="sample requests .* are damaged"):
        kept.requests()
    kept.set_requests_aside()
    assert kept.requests() == ()
    assert [path.read_bytes() for path in kept.folder.glob("requests.torn-*.json")] == [b"\xff"]


def test_requests_that_could_not_be_read_again_are_not_written(kept: RunSamples) -> None:
    before = kept.requests_file.read_bytes()
    for change in ({"prompt": "a" * 2001}, {"num_steps": 2000}, {"seed": 2**63}):
        with pytest.raises(StoreError, match="cannot be made"):
            kept.keep_requests([GenerationRequest(prompt="a").model_copy(update=change)])
    assert kept.requests_file.read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_read_again(kept: RunSamples, value: float) -> None:
    alarm = Alarm(step=1, name="drift", sentence="s", value=value, limit=0.5)
    kept.run.append_alarm(alarm)
    (read,) = kept.run.alarms()
    assert str(read.value) == str(value)
    interval = Interval(mean=value, low=value, high=value, of=0)
    sides = dict.fromkeys(("before", "after", "change", "ratio"), interval)
    measure = Measure(name="m", role="judge", wanted="up", **sides)
    assert str(Measure.model_validate_json(measure.model_dump_json()).ratio.mean) == str(value)
    result = GateResult(
        verdict="fail",
        action="stop",
        sentence="s",
        conditions=(ConditionResult(wanted="w", measured=interval, verdict="fail"),),
    )
    state = CurriculumState(attempts=(AttemptRecord(stage=0, attempt=0, run="r", num_frames=9, result=result),))
    again = CurriculumState.model_validate_json(state.model_dump_json()).attempts[0].result
    assert again is not None and again.conditions[0].measured is not None
    assert str(again.conditions[0].measured.mean) == str(value)


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_text_atomic(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomic(path, "\ud800")
    assert path.read_text() == "one"
    write_text_atomic(path, "two")
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"] and path.read_text() == "two"
