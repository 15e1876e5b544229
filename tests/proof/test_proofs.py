"""Each proof in its short form: that it runs from end to end and writes what the page shows. Not how well it does."""

import json
import os
import subprocess
from pathlib import Path

import pytest

PROOFS = ("compare", "curriculum", "distil", "dpo", "grpo", "hack", "hackability", "head", "nft", "pairwise")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_runs_from_end_to_end(name: str, root: Path, python: str, mini_there: None, tmp_path: Path) -> None:
    places = [str(root), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "DAILIES_PROOF": str(tmp_path),
        "DAILIES_DEVICE": "cpu",
        "PYTHONPATH": os.pathsep.join(place for place in places if place),
    }
    script = root / "tests" / "proof" / f"proof_{name}.py"
    done = subprocess.run(
        [python, str(script), "--short"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert lines[-1]["kind"] == "end"
    assert any(line["kind"] == "claim" for line in lines)
    page = subprocess.run([python, str(script.with_name("page.py"))], env=environment, cwd=tmp_path)
    assert page.returncode == 0
    assert f"<h2>{name}</h2>" in (tmp_path / "index.html").read_text()


def test_every_proof_has_its_short_form(root: Path) -> None:
    found = {path.stem.removeprefix("proof_") for path in (root / "tests" / "proof").glob("proof_*.py")}
    assert found == set(PROOFS)


@pytest.fixture
def mini_there(root: Path) -> None:
    if not (root / "assets" / "mini" / "model_index.json").is_file():
        pytest.skip("assets/mini is not there yet: run `make mini`")
