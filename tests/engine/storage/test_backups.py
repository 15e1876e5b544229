"""Copies of the database: whole or not there, rotated, put back; and a database that was lost is no new workspace."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from engine.cli.main import main
from engine.errors import StoreError
from engine.files.locks import try_lock
from engine.storage.backups import KEPT, back_up, back_up_daily, find_problem, list_backups, newest_whole, restore
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library, keep_daily_copy
from engine.workspace import Workspace
from rewards.clip import Clip


def add_clips(workspace: Workspace, *numbers: int) -> None:
    store = Library(workspace)
    for number in numbers:
        store.add_clip(
            ClipRecord(id=f"{number:016x}", prompt="p", source="imported", num_frames=1, width=16, height=16, fps=8.0)
        )
    store.close()


def count(workspace: Workspace) -> int:
    store = Library(workspace)
    try:
        return store.count()
    finally:
        store.close()


def damage(path, how: str) -> None:
    """What disks, interrupted copies and people do to a file."""
    whole = path.read_bytes()
    if how == "garbage":
        path.write_bytes(np.random.default_rng(0).bytes(len(whole)))
    elif how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "page":
        path.write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])
    else:
        path.write_bytes(b"")


DAMAGES = ("garbage", "truncated", "page", "emptied")


def test_a_copy_holds_what_was_committed_while_others_write(workspace):
    add_clips(workspace, 1, 2)
    store = Library(workspace)
    with store.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM clips")
        backup = back_up(workspace.database, workspace, "start")  # the transaction is not over
    with sqlite3.connect(backup.path) as copy:
        assert copy.execute("SELECT count(*) FROM clips").fetchone() == (2,)
    copy.close()
    store.close()


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_database_is_not_kept_and_rotates_no_copy_away(workspace, how):
    add_clips(workspace, 1)
    for _ in range(KEPT["start"]):
        back_up(workspace.database, workspace, "start")
    before = [one.path for one in list_backups(workspace)]
    damage(workspace.database, how)
    for _ in range(KEPT["start"]):
        with pytest.raises(StoreError, match="dailies database restore"):
            back_up(workspace.database, workspace, "start")
    assert [one.path for one in list_backups(workspace)] == before
    assert [path for path in workspace.backups.iterdir() if path not in before] == []


@pytest.mark.parametrize("how", DAMAGES)
def test_restoring_takes_the_newest_whole_copy(workspace, how, capsys):
    add_clips(workspace, 1)
    first = back_up(workspace.database, workspace, "start")
    add_clips(workspace, 2)
    second = back_up(workspace.database, workspace, "start")
    damage(second.path, how)
    assert find_problem(second.path)
    damage(workspace.database, how)
    bytes_before = workspace.database.read_bytes()
    assert newest_whole(workspace)[0] == first
    assert main(["database", "restore", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["copy"] == str(first.path)
    assert count(workspace) == 1
    with open(said["replaced"], "rb") as replaced:
        assert replaced.read() == bytes_before


def test_a_restored_database_does_not_replay_the_log_of_the_one_before(workspace):
    """SQLite applies whatever log lies beside a file of the right name."""
    add_clips(workspace, 1)
    backup = back_up(workspace.database, workspace, "request")
    holder = sqlite3.connect(workspace.database)  # keeps the log from being merged when the store closes
    holder.execute("SELECT count(*) FROM clips").fetchone()
    add_clips(workspace, 2, 3)
    assert workspace.database.with_name("dailies.db-wal").stat().st_size > 0
    aside = restore(workspace.database, workspace, backup)
    holder.close()
    assert count(workspace) == 1
    with sqlite3.connect(aside) as replaced:
        assert replaced.execute("SELECT count(*) FROM clips").fetchone() == (3,)
    replaced.close()


def test_copies_are_rotated_by_their_numbers_not_by_the_clock(workspace):
    add_clips(workspace, 1)
    for number in range(KEPT["start"] + 3):
        path = back_up(workspace.database, workspace, "start").path
        os.utime(path, (2e9 - number * 3600,) * 2)  # each an hour before the one before it
    kept = [one.number for one in list_backups(workspace)]
    assert kept == list(range(KEPT["start"] + 3, 3, -1))


def test_one_copy_a_day_whatever_the_clock_does(workspace):
    add_clips(workspace, 1)
    assert back_up_daily(workspace.database, workspace) is not None
    assert back_up_daily(workspace.database, workspace) is None
    (made,) = list_backups(workspace)
    os.utime(made.path, (time.time() - 90000,) * 2)
    assert back_up_daily(workspace.database, workspace) is not None
    for one in list_backups(workspace):
        os.utime(one.path, (time.time() + 90000,) * 2)  # the clock was set back by a day
    assert back_up_daily(workspace.database, workspace) is not None


def test_the_last_copies_of_one_reason_are_not_rotated_by_another(workspace):
    add_clips(workspace, 1)
    daily = back_up_daily(workspace.database, workspace)
    for _ in range(KEPT["start"] + 1):
        back_up(workspace.database, workspace, "start")
    assert daily.path.exists()


KILLED = """
import os, sys, time
from pathlib import Path
from engine.storage import backups
from engine.workspace import Workspace
real = backups.find_problem
def slow(path):
    print("copied", flush=True)
    sys.stdin.read()
    return real(path)
backups.find_problem = slow  # a copy that takes long: the test kills it before it has its name
workspace = Workspace.from_env()
backups.back_up(workspace.database, workspace, "start")
"""


def test_a_process_killed_while_it_copies_leaves_no_copy_and_blocks_no_later_one(workspace):
    add_clips(workspace, 1)
    whole = back_up(workspace.database, workspace, "start")
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"copied\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert [one.number for one in list_backups(workspace)] == [whole.number]
    assert list(workspace.backups.glob("*.partial")) != []
    assert back_up(workspace.database, workspace, "start").number == whole.number + 1
    assert list(workspace.backups.glob("*.partial*")) == []


@pytest.fixture
def with_clip(workspace, monkeypatch) -> str:
    """A workspace with one imported clip, files and row; the clip's id."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    clip = Clip(frames=frames, fps=8.0, prompt="a red ball")
    save_clip(workspace, "0" * 15 + "7", clip)
    store = Library(workspace, beside_clips=True)
    store.add_clip(ClipRecord.imported("0" * 15 + "7", clip))
    store.star(["0" * 15 + "7"])
    store.close()
    return "0" * 15 + "7"


@pytest.mark.parametrize("lost", ["emptied", "removed"])
def test_a_lost_database_beside_clips_is_refused_and_stays_as_it_is(workspace, with_clip, lost):
    for ending in ("-wal", "-shm"):
        workspace.database.with_name(f"dailies.db{ending}").unlink(missing_ok=True)
    if lost == "removed":
        workspace.database.unlink()
    else:
        workspace.database.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"holds 1 clips.*database restore.*database rebuild"):
            Library(workspace)
        assert not workspace.database.exists() or workspace.database.stat().st_size == 0


def test_a_lost_database_is_rebuilt_from_the_clips_files(workspace, with_clip, capsys):
    broken = workspace.clip_folder("f" * 16)
    broken.mkdir(parents=True)
    (broken / "request.json").write_text("{torn")
    workspace.database.write_bytes(b"")
    assert main(["database", "rebuild", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"added": 1, "damaged": ["f" * 16]}
    store = Library(workspace)
    record = store.clip(with_clip)
    assert (record.prompt, record.source, record.num_frames, record.width, record.height, record.fps) == (
        "a red ball",
        "imported",
        3,
        48,
        32,
        8.0,
    )
    store.close()
    assert main(["database", "rebuild", "--json"]) == 0  # again: nothing to add
    assert json.loads(capsys.readouterr().out)["added"] == 0


def test_a_rebuilt_row_of_a_generated_clip_is_its_own(workspace, clip):
    from engine.request import GenerationRequest
    from engine.storage.rebuild import rebuild

    request = GenerationRequest(model="mini", prompt="noise", seed=3, num_frames=9, height=32, width=48, fps=8)
    save_clip(workspace, request.id, clip, request)
    assert rebuild(workspace).added == 1
    store = Library(workspace)
    assert (store.clip(request.id).request, store.clip(request.id).model) == (request.model_dump(mode="json"), "mini")
    store.close()


@pytest.mark.parametrize("who", ["page", "worker"])
def test_nothing_is_restored_under_a_running_page_or_worker(workspace, capsys, who):
    add_clips(workspace, 1)
    back_up(workspace.database, workspace, "start")
    before = workspace.database.read_bytes()
    lock = try_lock(workspace.page_lock if who == "page" else workspace.worker_lock)
    assert main(["database", "restore"]) == 2
    assert f"The {who} of" in capsys.readouterr().err
    assert workspace.database.read_bytes() == before
    os.close(lock)


def test_restoring_without_a_whole_copy_is_one_sentence(workspace, capsys):
    add_clips(workspace, 1)
    assert main(["database", "restore"]) == 2
    assert "no undamaged backup" in capsys.readouterr().err
    assert count(workspace) == 1


def test_copies_are_listed_and_made_on_demand(workspace, capsys):
    add_clips(workspace, 1)
    assert main(["database", "backup"]) == 0
    damage(back_up(workspace.database, workspace, "start").path, "page")
    capsys.readouterr()
    assert main(["database", "ls", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["number"], one["reason"]) for one in found] == [(2, "start"), (1, "request")]
    assert found[1]["state"] == "whole" and found[0]["state"] != "whole"


def test_a_servers_database_is_left_to_its_own_tools(workspace, monkeypatch, capsys):
    monkeypatch.setenv("DAILIES_DATABASE_URL", "postgresql://someone@127.0.0.1:1/dailies")
    assert main(["database", "backup"]) == 2
    assert "pg_dump" in capsys.readouterr().err


def test_the_daily_check_says_what_is_wrong_and_goes_on(workspace, caplog):
    add_clips(workspace, 1)
    keep_daily_copy(workspace)
    (made,) = list_backups(workspace)
    os.utime(made.path, (time.time() - 90000,) * 2)
    damage(workspace.database, "garbage")
    keep_daily_copy(workspace)
    assert "dailies database restore" in caplog.text
    assert list_backups(workspace) == [made]


def test_a_folder_with_signs_of_urls_is_backed_up_and_restored(tmp_path):
    workspace = Workspace(tmp_path / "100% of #1? [a] & 'b'").prepare()
    add_clips(workspace, 1)
    backup = back_up(workspace.database, workspace, "start")
    assert find_problem(backup.path) == ""
    add_clips(workspace, 2)
    restore(workspace.database, workspace, backup)
    assert count(workspace) == 1
    assert [path.name for path in tmp_path.iterdir()] == [workspace.root.name]
