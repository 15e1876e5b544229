"""What was recorded before code moved is what the code does now; see record.py and make_workspace.py.

Each check is a process of its own, so that nothing that other tests load or set reaches the figures.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
RELATIVE = 1e-6  # rankings and agreement, between CPUs


def run(program: str, *words: str, limit_s: int = 280) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(HERE / program), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, env=environment())


def environment() -> dict[str, str]:
    """Without the presets and the page of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DAILIES_")}


@pytest.mark.slow
def test_texts_page_and_schema_are_as_recorded() -> None:
    """The figures take a minute: `python tests/goldens/record.py` compares them as well."""
    done = run("record.py", "--only", "texts")
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-2000:]}"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The recorded workspace, unpacked elsewhere, opened and put to use."""
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(HERE / "workspace.tar.xz") as archive:
        archive.extractall(folder / "workspace", filter="data")
    done = run("workspace_contents.py", str(folder / "workspace"), str(folder / "found.json"), "--use")
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return found


def recorded() -> Any:
    return json.loads((HERE / "workspace.json").read_text(encoding="utf-8"))


def lost(recorded: Any, found: Any, where: str = "") -> list[str]:
    """What of a recorded value is missing or different. Objects may have new keys; floats agree within RELATIVE."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        places = ((name, f"{where}/{name}") for name in recorded)
        return [line for name, place in places for line in lost(recorded[name], found.get(name), place)]
    if isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        pairs = enumerate(zip(recorded, found, strict=True))
        return [line for index, (left, right) in pairs for line in lost(left, right, f"{where}/{index}")]
    same = found == (pytest.approx(recorded, rel=RELATIVE, abs=1e-9) if isinstance(recorded, float) else recorded)
    return [] if same else [f"{where}: recorded {str(recorded)[:200]}, found {str(found)[:200]}"]


@pytest.mark.slow
def test_a_workspace_of_former_code_is_whole(opened: dict[str, Any]) -> None:
    assert lost(recorded(), opened["contents"]) == []


def test_losses_are_noticed() -> None:
    found = {"a": [1, 2.0], "b": {"c": "x"}, "new": 1}
    assert lost({"a": [1, 2.0], "b": {"c": "x"}}, found) == []
    assert len(lost({"a": [1, 2.1], "b": {"c": "y", "d": 0}}, found)) == 3
    assert len(lost({"a": [1]}, found)) == 1


@pytest.mark.slow
def test_media_of_a_former_workspace_are_served(opened: dict[str, Any]) -> None:
    served = opened["used"]["served"]
    assert len(served) == 2 + 2 * len(recorded()["clips"])
    assert set(served.values()) == {200}


@pytest.mark.slow
def test_a_job_queued_by_former_code_is_done(opened: dict[str, Any]) -> None:
    assert opened["used"]["job"] == {"status": "done", "error": None, "clips": 1}


@pytest.mark.slow
def test_a_run_of_former_code_resumes_to_its_end(opened: dict[str, Any]) -> None:
    """Its former figures stay, each step is there once, and its adapter is published."""
    resumed = opened["used"]["resumed"]
    (name,) = (one["run"] for one in recorded()["listed_runs"] if one["state"] != "finished")
    steps = [row["step"] for row in resumed["metrics"]]
    assert resumed["adapter"] == name and resumed["lines_before"] > 0
    assert steps == list(range(1, 11))
