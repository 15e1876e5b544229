"""Paths, and nothing but paths inside the workspace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StoreError
from engine.workspace import CLIP_ID, Workspace


def test_the_folder_given_wins_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DAILIES_WORKSPACE", str(tmp_path / "environment"))
    assert Workspace.from_env(tmp_path / "given").root == tmp_path / "given"
    assert Workspace.from_env().root == tmp_path / "environment"
    monkeypatch.delenv("DAILIES_WORKSPACE")
    monkeypatch.chdir(tmp_path)
    assert Workspace.from_env().root == tmp_path / "workspace"


@given(st.text(max_size=40).filter(lambda text: not CLIP_ID.fullmatch(text)))
def test_what_is_no_clip_id_never_becomes_a_path(text):
    with pytest.raises(StoreError, match="16 hex digits"):
        Workspace(Path("somewhere")).clip_folder(text)


def test_a_clip_folder_lies_under_the_first_two_digits(tmp_path):
    assert Workspace(tmp_path).clip_folder("0123456789abcdef") == tmp_path / "clips" / "01" / "0123456789abcdef"


def test_a_job_log_is_never_elsewhere(tmp_path):
    assert Workspace(tmp_path).job_log("0123abcd").parent == tmp_path / "jobs"
    with pytest.raises(StoreError, match="8 hex digits"):
        Workspace(tmp_path).job_log("../../etc")


def test_a_workspace_that_is_a_file_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used: Not a directory.*--workspace"):
        Workspace(tmp_path / "file").prepare()


def test_the_data_and_job_layers_leave_torch_alone():
    """The page imports them, and has to stay light."""
    modules = (
        "engine.storage.library, engine.storage.video_import, engine.runs.purge, engine.jobs.worker_control, "
        "engine.jobs.handlers.generate"
    )
    check = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], env=os.environ, check=False).returncode == 0
