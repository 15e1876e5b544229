"""`dailies completion`: the script completes in a real bash."""

import shutil
import subprocess
from pathlib import Path

import pytest

from app.command import main

BASH = shutil.which("bash")
# What bash does when TAB is pressed: call the function that is registered for the command, and read COMPREPLY.
PRESS_TAB = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
registered=$(complete -p dailies); [[ $registered =~ -F\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" dailies "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "dailies.bash"
    with pytest.MonkeyPatch.context() as patch, file.open("w") as stream:
        patch.setattr("sys.stdout", stream)
        assert main(["completion", "bash"]) == 0
    return file


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["tra"], {"train"}),
        (["runs", "ex"], {"extend", "export", "export-tensorboard"}),
        (["serve", "--pu"], {"--public-url"}),
        (["users", "add", "--role", ""], {"labeller", "researcher"}),
        (["serve", "--auth", "us"], {"users.json"}),
        (["generate", "--no-such"], {""}),
    ],
)
def test_tab_completes(script: Path, tmp_path: Path, typed: list[str], offered: set[str]) -> None:
    (tmp_path / "users.json").touch()
    assert BASH is not None
    command = [BASH, "--norc", "-c", PRESS_TAB, "bash", str(script), "dailies", *typed]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert set(done.stdout.splitlines()) == offered, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "export-tensorboard" in capsys.readouterr().out


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2
    assert "invalid choice: 'fish'" in capsys.readouterr().err
