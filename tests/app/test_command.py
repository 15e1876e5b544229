"""`dailies`: the page's commands stand beside those of the engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.command import main

ROOT = Path(__file__).parents[2]


def test_help_lists_the_pages_commands_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from app.command import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'gradio', 'pydantic', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ") and line.split()]
    assert {"serve", "users", "tour", "generate", "train"} <= set(listed)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_tour_is_found_from_any_folder_of_an_editable_install(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import app.command; sys.path.remove({str(ROOT)!r})\n"
        "app.command.main(['tour', '--help'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert "usage: python -m examples.tour" in done.stdout, done.stderr


def test_serve_and_users_reach_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "99999"]) == 2
    assert "A port is a number from 0 to 65535" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["users", "--help"])
    assert "usage: dailies users" in capsys.readouterr().out


def test_other_commands_are_the_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "ls"]) == 0
    assert "mini" in capsys.readouterr().out
