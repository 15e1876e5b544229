"""`dailies score`: its exit code tells whether all was scored; what cannot be shown or read is no traceback."""

import os
import subprocess
import sys

import numpy as np
import pytest

from engine.cli.main import main
from engine.errors import ConfigError
from engine.jobs.spec import JobSpec
from engine.video.writer import write_mp4


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "vidéos #1? 100%"
    made.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    write_mp4(made / "whole [a].mp4", frames, 8.0)
    return made


def test_a_folder_of_which_all_is_scored_exits_with_0(folder, capsys):
    assert main(["score", str(folder), "--mix", "mini"]) == 0, capsys.readouterr().err


def test_a_folder_of_which_not_all_is_scored_exits_with_1_and_names_the_rest(folder, capsys):
    (folder / "torn.mp4").write_bytes(b"no video")
    assert main(["score", str(folder), "--mix", "mini"]) == 1
    assert "torn.mp4 could not be scored" in capsys.readouterr().out


def test_a_terminal_without_the_letters_gets_escapes(workspace):
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "jobs", "show", "é"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 2 and b"\\xe9" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["a\0.mp4", "loop"])
def test_what_is_no_path_is_one_sentence(tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConfigError, match="is not a readable path"):
        JobSpec.score_file(tmp_path / name, "p", "mini")
