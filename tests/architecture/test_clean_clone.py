"""What is committed works on any machine: no path of one host, no registry, no private address, no big file."""

import re
import subprocess
from pathlib import Path

import pytest

# Written so that this file does not match itself.
HOST_SPECIFIC = {
    "a home folder": re.compile(r"(?<![\w.])/(?:home|Users)/[a-z][\w-]+/"),
    "the root user's folder": re.compile(r"(?<![\w.])/root/[\w.]"),
    "the folder of one checkout": re.compile(r"(?<![\w.])/wor[k]/"),
    "a Windows path": re.compile(r"\b[A-Z]:\\Users"),
    "a package registry": re.compile(r"pypi\.or[g]|pythonhosted\.or[g]|registry\.npmj[s]|/pypi/simpl[e]"),
    "a private address": re.compile(r"\b(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+\b"),
}
ASSET_LIMIT_MB = {
    "assets/mini/": 24,
    "assets/calibration/": 4,
    "assets/reward_nets/": 8,
    "assets/seam_critic/": 2,
    "": 48,
}


def tracked_files(root: Path) -> list[str]:
    """What git would commit: tracked files, and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (root / name).is_file()]


def host_specific(name: str, text: str) -> list[str]:
    return [
        f"{name}:{number} has {what}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in HOST_SPECIFIC.items()
        if pattern.search(line)
    ]


def read_text(path: Path) -> str:
    """The file's text, or nothing when it is not text."""
    try:
        return path.read_text(encoding="utf8")
    except UnicodeDecodeError:
        return ""


def test_nothing_of_one_machine_is_committed(root: Path) -> None:
    found = [problem for name in tracked_files(root) for problem in host_specific(name, read_text(root / name))]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "cd /ho" + "me/jane/dailies",
        "x = '/wor" + "k/main'",
        "--index-url https://pypi.or" + "g/simple",
        "http://192.16" + "8.0.7:8080",
        "C:\\Us" + "ers\\jane",
        "/roo" + "t/.cache",
    ],
)
def test_the_host_rule_can_fail(line: str) -> None:
    assert len(host_specific("x", line)) == 1


def test_the_host_rule_leaves_ordinary_text_alone() -> None:
    fine = "see app/home/page.py, tests/root/x, 127.0.0.1:7860, https://download.pytorch.org/whl/rocm, network/work/a"
    assert host_specific("x", fine) == []


@pytest.mark.parametrize("prefix", ASSET_LIMIT_MB)
def test_assets_stay_small(prefix: str, root: Path) -> None:
    size = sum((root / name).stat().st_size for name in tracked_files(root) if name.startswith(prefix))
    assert size <= ASSET_LIMIT_MB[prefix] * 2**20
