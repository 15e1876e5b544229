"""Clips and reports in the database, on SQLite and PostgreSQL."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from engine.config.presets import load_preset
from engine.errors import ConfigError, StoreError
from engine.request import GenerationRequest
from engine.runs.stale_totals import withdraw_old_totals
from engine.storage.library import ClipFilter, ClipRecord, Library
from rewards.calibration import measures_alike, mix_calibration

START = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int, **changes) -> ClipRecord:
    shape = {"num_frames": 33, "width": 64, "height": 64, "fps": 8.0}
    known = {"prompt": f"prompt {number}", "source": "generated", "model": "mini"}
    moment = {"created_at": START + timedelta(hours=number)}
    return ClipRecord(**{"id": f"{number:016x}", **shape, **known, **moment, **changes})


def report(total: float | None, **parts: float | None) -> dict:
    return {"total": total, "results": {key: {"value": value} for key, value in parts.items()}}


def ids(store: Library, **which) -> list[int]:
    return [int(found.id, 16) for found in store.clips(ClipFilter(**which))]


def test_a_clip_comes_back_as_it_was_stored(store):
    request = GenerationRequest(prompt="a réd círcle", seed=2**63 - 1, negative_prompt="blur")
    stored = store.add_clip(ClipRecord.generated(request))
    again = store.clip(request.id)
    assert again == stored
    assert GenerationRequest(**again.request) == request
    assert again.seed == 2**63 - 1 and again.created_at.tzinfo is UTC


def test_an_unknown_clip_is_an_error_that_names_it(store):
    with pytest.raises(StoreError, match="no clip '0000000000000001'"):
        store.clip("0000000000000001")


def test_known_clips_are_those_stored_and_not_deleted(store):
    for number in range(3):
        store.add_clip(record(number))
    store.delete([record(1).id])
    wanted = [record(number).id for number in (0, 1, 7)]
    assert store.existing(wanted) == {record(0).id: store.clip(record(0).id)}
    assert store.existing([]) == {}


def test_any_number_of_clips_can_be_named(store):
    """PostgreSQL takes 65,535 parameters in a statement, a stock SQLite 32,766."""
    for connect in ("connect", "checkout"):
        event.listen(store.database._engine, connect, allow_parameters_of_stock_sqlite)
    store.add_clips(record(number) for number in range(3))
    store.save_report(record(1).id, "mini", report(0.5))
    named = [f"{number:016x}" for number in range(33_000 if store.database.is_sqlite else 66_000)]
    assert store.existing(named).keys() == {record(number).id for number in range(3)}
    assert store.reports(named, "mini").keys() == {record(1).id}
    assert store.delete(named) == 3


def allow_parameters_of_stock_sqlite(connection: object, *_: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)


def test_pages_of_the_library(store):
    for number in range(7):
        store.add_clip(record(number))
    assert ids(store) == [6, 5, 4, 3, 2, 1, 0]
    assert [int(c.id, 16) for c in store.clips(offset=2, limit=3)] == [4, 3, 2]
    assert ids(store, order="oldest") == [0, 1, 2, 3, 4, 5, 6]
    assert store.count() == 7


def test_clips_of_one_moment_have_one_order_whatever_the_page(store):
    for number in range(9):
        store.add_clip(record(number, created_at=START))
    paged = [c.id for offset in range(0, 9, 2) for c in store.clips(offset=offset, limit=2)]
    assert paged == [c.id for c in store.clips()] and len(set(paged)) == 9


def test_filters(store):
    store.add_clip(record(1, prompt="A RED circle moves left", model="mini"))
    store.add_clip(record(2, prompt="a blue square, 100% red", model="large", adapter="left-lover"))
    store.add_clip(record(3, prompt="from_a_file", model=None, source="imported"))
    assert ids(store, text="red circle") == [1]
    assert ids(store, text="circle RED") == [1]
    assert ids(store, text="100%") == [2]
    assert ids(store, text="_") == [3]
    assert ids(store, text="'; DROP TABLE clips; --") == []
    assert ids(store, model="large") == [2]
    assert ids(store, adapter="left-lover") == [2]
    assert ids(store, source="imported") == [3]
    assert ids(store, since=START + timedelta(hours=2)) == [3, 2]
    assert ids(store, until=START + timedelta(hours=1)) == [1]
    assert (store.models(), store.adapters()) == (["large", "mini"], ["left-lover"])


def test_dates_are_compared_as_moments_whatever_their_zone(store):
    store.add_clip(record(1))
    elsewhere = (START + timedelta(hours=1)).astimezone(datetime.now().astimezone().tzinfo)
    assert ids(store, since=elsewhere, until=elsewhere) == [1]


def test_the_newest_report_is_what_the_library_shows(store):
    for number in range(4):
        store.add_clip(record(number))
    store.save_report(record(1).id, "first", report(0.25, flow=0.5, seam=None))
    store.save_report(record(2).id, "first", report(0.75, flow=0.9))
    store.save_report(record(3).id, "first", report(None, flow=None))
    found = store.clip(record(1).id)
    assert (found.total, found.parts, found.mix) == (0.25, {"flow": 0.5, "seam": None}, "first")
    assert ids(store, order="best") == [2, 1, 3, 0]
    assert ids(store, order="worst")[:2] == [1, 2]
    assert ids(store, min_total=0.5) == [2]
    store.save_report(record(1).id, "second", report(0.5, flow=1.0))
    assert store.clip(record(1).id).mix == "second"


def test_a_total_of_a_prompt_that_could_not_be_judged_orders_nothing(store):
    for number, unjudged in enumerate(([], ["clip_vid"])):
        store.add_clip(record(number))
        store.save_report(record(number).id, "a", report(0.2 + number / 2, flow=0.5) | {"unjudged": unjudged})
    assert ids(store, order="best") == [0, 1] and ids(store, min_total=0.1) == [0]
    kept = store.report(record(1).id)
    assert kept is not None and kept["total"] == 0.7


def test_reports_of_another_calibration_count_as_not_scored(store):
    for number, calibration in enumerate(("mini-1.1", "mini-1.2")):
        store.add_clip(record(number))
        store.save_report(record(number).id, "a", report(0.5, flow=0.5) | {"calibration": calibration})
    assert store.scored_by("a", "mini-1.2") == [record(1).id]
    assert set(store.scored_by("a")) == {record(0).id, record(1).id}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, True),
        ({"missing": {"judge": "The server cannot be reached."}}, False),
        ({"results": {"judge": {"value": 0.5, "backend": "model 1"}}}, False),
        ({"results": {"judge": {"value": None, "backend": "numpy"}}}, True),
        ({"results": {"judge": {"value": 0.5, "backend": "model 2"}}}, True),
    ],
)
def test_a_report_with_a_missing_reward_or_of_another_model_counts_as_not_scored(store, change, counts):
    store.add_clip(record(0))
    store.save_report(record(0).id, "a", report(0.5, flow=0.5) | {"calibration": "mini-1.2"} | change)
    assert bool(store.scored_by("a", "mini-1.2", {"judge": "model 2"})) == counts


def test_totals_of_another_calibration_order_nothing(store):
    present = mix_calibration(load_preset("rewards", "mini"))
    made_with = (present, "mini-0.9", None, present)
    for number, calibration in enumerate(made_with):
        store.add_clip(record(number))
        store.save_report(record(number).id, "mini", report(0.5 + number / 10) | {"calibration": calibration})
    store.add_clip(record(4))
    store.save_report(record(4).id, "mix-that-is-gone", report(0.95))
    assert ids(store, order="best") == [4, 3, 2, 1, 0], "stored totals, whatever made them"
    assert (withdraw_old_totals(store), withdraw_old_totals(store)) == (2, 0)
    assert ids(store, order="best")[:3] == [4, 3, 0] and ids(store, min_total=0.1, order="best") == [4, 3, 0]
    kept = store.report(record(1).id)
    assert kept is not None and kept["total"] == 0.6, "the report stays"
    store.save_report(record(1).id, "mini", report(0.9) | {"calibration": present})
    assert ids(store, order="best")[:2] == [4, 1], "scored again"


def test_another_weight_makes_other_totals_and_another_back_end_other_values():
    mix = load_preset("rewards", "mini")
    present = mix_calibration(mix)
    weights = {**mix.weights, next(iter(mix.weights)): 7.0}
    gates = mix.gates.model_copy(update={"motion": 0.25})
    for change in ({"weights": weights}, {"gates": gates}, {"backends": {**mix.backends, "flow": "raft"}}):
        changed = mix_calibration(mix.model_copy(update=change))
        assert changed != present and measures_alike(changed, present) == ("backends" not in change)
    same = dict(reversed(mix.weights.items()))
    assert mix_calibration(mix.model_copy(update={"weights": same})) == present


def test_each_mix_keeps_its_own_report(store):
    store.add_clip(record(1))
    assert store.report(record(1).id) is None
    store.save_report(record(1).id, "a", report(0.1, flow=0.1) | {"per_frame": [0.5, None]})
    store.save_report(record(1).id, "b", report(0.2))
    assert store.report(record(1).id)["total"] == 0.2
    assert store.report(record(1).id, "a")["per_frame"] == [0.5, None]
    store.save_report(record(1).id, "a", report(0.3))
    assert store.report(record(1).id)["total"] == 0.3
    assert store.report(record(1).id, "c") is None


def test_a_report_needs_its_clip(store):
    with pytest.raises(StoreError, match="no clip"):
        store.save_report(record(1).id, "a", report(0.1))
    assert store.report(record(1).id) is None


def test_a_nan_in_a_report_is_refused_and_changes_nothing(store):
    store.add_clip(record(1))
    with pytest.raises(ConfigError, match="not JSON compliant"):
        store.save_report(record(1).id, "a", report(0.5, flow=float("nan")))
    assert store.clip(record(1).id).total is None


def test_deleting_hides_and_restoring_brings_back(store):
    for number in range(3):
        store.add_clip(record(number))
    assert store.delete([record(0).id, record(1).id, "f" * 16]) == 2
    assert store.delete([record(0).id]) == 0
    assert (ids(store), store.count(), ids(store, deleted=True)) == ([2], 1, [1, 0])
    assert store.clip(record(0).id).deleted_at is not None
    assert store.restore([record(0).id, record(2).id]) == 1
    assert ids(store) == [2, 0]


def test_adding_a_clip_again_restores_it_and_keeps_its_score_and_date(store):
    store.add_clip(record(1))
    store.save_report(record(1).id, "a", report(0.5, flow=0.5))
    store.delete([record(1).id])
    again = store.add_clip(record(1, created_at=START + timedelta(days=9)))
    assert again.deleted_at is None and again.total == 0.5 and again.parts == {"flow": 0.5}
    assert again.created_at == record(1).created_at


def test_forgetting_takes_only_what_was_deleted_before(store):
    for number in range(3):
        store.add_clip(record(number))
        store.save_report(record(number).id, "a", report(0.5))
    store.delete([record(0).id])
    between = datetime.now(UTC)
    store.delete([record(1).id])
    assert store.forget_deleted(between) == [record(0).id]
    assert store.report(record(0).id) is None and store.report(record(1).id) is not None
    assert store.restore([record(0).id, record(1).id]) == 1


def test_stars_stay_and_can_be_asked_for(store):
    for number in range(3):
        store.add_clip(record(number))
    assert store.star([record(1).id, record(2).id, "f" * 16]) == 2
    assert ids(store, starred=True) == [2, 1] and ids(store, starred=False) == [0]
    store.add_clip(record(1))
    assert store.clip(record(1).id).starred, "adding a clip again keeps its star"
    assert store.star([record(1).id], False) == 1
    assert ids(store, starred=True) == [2]


def test_notes_on_how_a_clip_was_made(store):
    stored = store.add_clip(ClipRecord.generated(GenerationRequest(prompt="a star"), ["It was too long."]))
    assert store.clip(stored.id).notes == ("It was too long.",)
    store.add_clip(ClipRecord.generated(GenerationRequest(prompt="a star")))
    assert store.clip(stored.id).notes == ("It was too long.",)
