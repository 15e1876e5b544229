"""Metrics as columns: read on, torn, resumed, replaced, cached, and thinned out without losing peaks."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config.presets import load_train_preset
from engine.runs.metrics import MetricStore, downsample
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.workspace import Workspace


@pytest.fixture
def run(workspace: Workspace) -> Run:
    folder = workspace.runs / "r-1"
    folder.mkdir(parents=True)
    return Run(folder)


def points(found: MetricStore, name: str) -> tuple[list[float], list[float]]:
    steps, values = found.columns[name].points()
    return steps.tolist(), values.tolist()


def test_reads_on_and_waits_for_a_torn_line(run: Run) -> None:
    found = MetricStore(run)
    assert found.read_new() == 0 and found.columns == {}
    run.append_metrics(1, {"loss": 3.0, "text": "no"})
    found.read_new()
    with run.metrics_file.open("a") as file:
        file.write('{"step": 2, "lo')
    found.read_new()
    assert points(found, "loss") == ([1.0], [3.0])
    with run.metrics_file.open("a") as file:
        file.write('ss": 2.0}\nnonsense\n[1]\n{"loss": 1}\n')
    found.read_new()
    assert points(found, "loss") == ([1.0, 2.0], [3.0, 2.0])
    assert found.columns["loss"].points(after=1.0)[1].tolist() == [2.0]
    assert found.last("loss") == 2.0 and found.last("nothing") is None and found.last_step == 2.0


def test_a_row_after_a_torn_one_is_not_lost(run: Run) -> None:
    run.append_metrics(1, {"loss": 1.0})
    with run.metrics_file.open("a") as file:
        file.write('{"step": 2, "lo')
    run.append_metrics(2, {"loss": 2.0})
    assert [row["loss"] for row in run.metrics()] == [1.0, 2.0]


def test_a_resumed_run_continues_from_its_checkpoint(run: Run) -> None:
    found = MetricStore(run)
    for step in (1, 2, 3, 4):
        run.append_metrics(step, {"loss": float(step)})
    run.append_metrics(4, {"samples/total": 0.5})
    found.read_new()
    before = found.epoch
    for step in (3, 4):
        run.append_metrics(step, {"loss": 10.0 + step})
    found.read_new()
    assert points(found, "loss") == ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 13.0, 14.0])
    assert points(found, "samples/total") == ([], []), "they were of weights that are gone"
    assert found.epoch > before


def test_more_of_a_step_that_was_read_already_is_not_overlooked(run: Run) -> None:
    """As a checkpoint's samples are, which come seconds after its loss."""
    found = MetricStore(run)
    for step in (1, 2):
        run.append_metrics(step, {"loss": float(step)})
    found.read_new()
    before = found.epoch
    run.append_metrics(2, {"samples/total": 0.5})
    found.read_new()
    assert found.epoch != before, "who has read step 2 asks anew"
    assert points(found, "samples/total") == ([2.0], [0.5]) and points(found, "loss") == ([1.0, 2.0], [1.0, 2.0])
    before = found.epoch
    run.append_metrics(3, {"loss": 3.0})
    found.read_new()
    assert found.epoch == before


def test_a_file_put_there_anew_is_read_from_its_start(run: Run) -> None:
    found = MetricStore(run)
    run.append_metrics(1, {"loss": 1.0})
    run.append_metrics(2, {"loss": 2.0})
    found.read_new()
    run.metrics_file.write_text('{"step": 7, "loss": 5.0, "more": 1.0000000}\n{"step": 8, "loss": 4.0}\n')
    found.read_new()
    assert points(found, "loss") == ([7.0, 8.0], [5.0, 4.0])


def test_the_cache_is_taken_only_for_the_same_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runs.metrics.WORTH_KEEPING_BYTES", 100)
    for step in range(1, 51):
        run.append_metrics(step, {"loss": step / 2, "kl": 0.0})
    first = MetricStore(run)
    first.read_new()
    run.append_metrics(50, {"kl": 4.0})
    run.append_metrics(51, {"loss": 9.0})
    again = MetricStore(run)
    assert len(again.columns["loss"]) == 50
    again.read_new()
    assert points(again, "loss")[0] == list(range(1, 52)) and points(again, "loss")[1][-1] == 9.0
    assert points(again, "kl")[1][-1] == 4.0 and len(again.columns["kl"]) == 50
    run.metrics_file.write_text("".join(json.dumps({"step": s, "loss": 0.0}) + "\n" for s in range(1, 300)))
    other = MetricStore(run)
    other.read_new()
    assert set(other.columns) == {"loss"} and set(points(other, "loss")[1]) == {0.0}


def test_a_large_file_is_read_in_pieces(run: Run) -> None:
    for step in range(1, 201):
        run.append_metrics(step, {"loss": 1.0})
    found, left = MetricStore(run), []
    while unread := found.read_new(1000):
        left.append(unread)
    assert left == sorted(left, reverse=True) and len(left) > 3
    assert len(found.columns["loss"]) == 200


def test_a_damaged_cache_is_passed_over(run: Run, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runs.metrics.WORTH_KEEPING_BYTES", 10)
    run.append_metrics(1, {"loss": 1.0})
    MetricStore(run).read_new()
    files: list[Path] = sorted(workspace.metric_columns.iterdir())
    assert len(files) == 3
    for file in files:
        kept = file.read_bytes()
        file.write_bytes(kept[: len(kept) // 2])
        found = MetricStore(run)
        found.read_new()
        assert points(found, "loss") == ([1.0], [1.0])
        file.write_bytes(kept)


VALUES = st.one_of(
    st.floats(-1e6, 1e6), st.integers(-(2**70), 2**70), st.sampled_from([None, True, "a", "2026-11-30", [1], {"a": 1}])
)
NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-(2**40), 2**40))
GOOD_LINES = st.builds(
    lambda step, row: json.dumps({"step": step, **row}),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["loss", "kl", "a b"]), NUMBERS, max_size=3),
)
ROWS = st.dictionaries(st.sampled_from(["loss", "kl", "a b", "ü"]), VALUES, max_size=3)
LINES = st.one_of(
    st.tuples(st.integers(-1, 9), ROWS).map(lambda row: json.dumps({"step": row[0], **row[1]})),
    st.sampled_from(
        [
            '{"step": 3, "loss": NaN}',
            '{"step": 4, "loss": 1.0',
            '"kl": 2.0}',
            "",
            "[1]",
            '{"loss": 1.0}',
            '{"step": 2.5}',
        ]
        + [
            '{"step": 5}{"step": 6}',
            '{"step": 7, "kl": 1, "kl": 2}',
            '{"step": 8, "kl": 1e999}',
            '{"step": true}',
            "\r",
        ]
    ),
)


@given(st.lists(LINES, min_size=1, max_size=30) | st.lists(GOOD_LINES, min_size=1, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_many_rows_at_once_are_read_as_one_by_one(run: Run, lines: list[str]) -> None:
    run.metrics_file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    found = []
    for least in (10**9, 0):  # bytes from which on a reading takes all rows at once
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("engine.runs.metrics.WORTH_KEEPING_BYTES", 10**9)
            patch.setattr("engine.runs.metrics.MANY_BYTES", least)
            store = MetricStore(run)
            store.epoch = 0
            store.read_new()
        columns = {name: points(store, name) for name in store.columns}
        found.append((columns, store.last_step, store.damaged, store.epoch))
    assert found[0] == found[1]


def test_ordinary_rows_are_read_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a step's metrics, and of its samples, after which a resumed run continues from an earlier step."""
    monkeypatch.setattr("engine.runs.metrics.MANY_BYTES", 0)
    monkeypatch.setattr(MetricStore, "_take", lambda *_: pytest.fail("a line was read by itself"))
    for step in (1, 2, 2, 3, 4, 3, 4):
        run.append_metrics(
            step, {"loss": float(step), "at": 1e9 + step} if step != 2 else {"samples/total": 1, "a": None}
        )
    found = MetricStore(run)
    found.read_new()
    assert points(found, "loss") == ([1.0, 3.0, 4.0], [1.0, 3.0, 4.0])
    assert points(found, "samples/total") == ([2.0], [1.0])
    assert found.damaged == 0 and set(found.columns) == {"loss", "at", "samples/total"}


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_ends_and_extremes(values: list[float], most: int) -> None:
    steps, all_values = np.arange(len(values), dtype=float), np.array(values)
    kept_steps, kept = downsample(steps, all_values, most)
    assert len(kept) <= most + 2
    assert (kept_steps[0], kept_steps[-1]) == (steps[0], steps[-1])
    assert (kept.min(), kept.max()) == (all_values.min(), all_values.max())
    assert (np.diff(kept_steps) > 0).all()


DAMAGED = (
    b'{"step": 2, "loss": 2.0}\xff\n',
    b"\xff\xfe\n",
    b'{"step": 1e400, "loss": 2.0}\n',
    b'{"step": NaN, "loss": 2.0}\n',
    b'{"step": -1, "loss": 2.0}\n',
    b'{"step": 1.5, "loss": 2.0}\n',
    b'{"step": true, "loss": 2.0}\n',
    b'{"step": "2", "loss": 2.0}\n',
    b'{"step": ' + b"9" * 5000 + b"}\n",
    b"[" * 100_000 + b"\n",
    b'{"loss": 1.0}\n',
    b"null\n",
    b'{"step": 2, "lo\n',
)


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_hides_no_other_and_is_counted(run: Run, line: bytes) -> None:
    run.append_metrics(1, {"loss": 1.0, "of": 9})
    with run.metrics_file.open("ab") as file:
        file.write(line)
    run.append_metrics(3, {"loss": 3.0, "of": 9})
    assert run.metrics() == [{"step": 1, "loss": 1.0, "of": 9}, {"step": 3, "loss": 3.0, "of": 9}]
    assert run.progress() == (3, 9)
    found = MetricStore(run)
    found.read_new()
    assert points(found, "loss") == ([1.0, 3.0], [1.0, 3.0])
    assert found.damaged == 1
    run.resolved.write_text(load_train_preset("mini_nft").model_dump_json())
    assert run.problems() == [f"1 line of {run.metrics_file} cannot be read and are left out."]


def test_a_value_that_is_no_finite_number_is_left_out_alone(run: Run) -> None:
    huge = "9" * 400
    run.metrics_file.write_text(f'{{"step": 1, "loss": 1.0, "kl": NaN, "a": 1e400, "b": {huge}, "c": null}}\n')
    assert run.metrics() == [{"step": 1, "loss": 1.0}]
    found = MetricStore(run)
    found.read_new()
    assert list(found.columns) == ["loss"] and found.damaged == 0


def test_a_last_line_that_is_being_written_is_no_damage(run: Run) -> None:
    run.resolved.write_text(load_train_preset("mini_nft").model_dump_json())
    run.append_metrics(1, {"loss": 1.0})
    with run.metrics_file.open("ab") as file:
        file.write(b'{"step": 2, "lo')
    assert run.problems() == [] and run.progress() == (1, 0)


def test_alarms_are_read_past_damage_and_odd_separators(run: Run) -> None:
    alarm = Alarm(step=1, name="motion", sentence="a red\u2028ball\x85 stands", value=0.1, limit=0.2)
    run.append_alarm(alarm)
    with run.alarms_file.open("ab") as file:
        file.write(b'\xff\n{"step": 2')
    run.append_alarm(alarm)
    assert run.alarms() == [alarm, alarm]
