"""Fixtures: a folder of declarations that this process uses."""

import pytest

from rewards.external import folders
from rewards.external.registry import close_external


@pytest.fixture
def declarations(tmp_path, monkeypatch):
    """Return a function that writes a declaration; the folder is used until the test ends."""
    folder = tmp_path / "external_rewards"
    folder.mkdir()
    monkeypatch.setattr(folders, "_folders", lambda: [folder])

    def write(key: str, text: str):
        (folder / f"{key}.toml").write_text(text)
        return folder / f"{key}.toml"

    yield write
    close_external()
