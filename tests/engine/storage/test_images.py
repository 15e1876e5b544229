"""Pictures by name: what was kept comes back, and nothing else does."""

from typing import Any

import numpy as np
import pytest

from engine.errors import StoreError
from engine.storage.images import load_picture, save_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_a_picture_comes_back_bit_for_bit_under_one_name(workspace: Any) -> None:
    name = save_picture(workspace, PICTURE)
    assert len(name) == 64 and save_picture(workspace, PICTURE.copy()) == name
    assert np.array_equal(load_picture(workspace, name), PICTURE)
    assert save_picture(workspace, 255 - PICTURE) != name
    assert sorted(path.suffix for path in workspace.pictures.iterdir()) == [".png", ".png"]


def test_what_is_not_there_or_damaged_is_said(workspace: Any) -> None:
    with pytest.raises(StoreError, match="is not in this workspace: add the picture again"):
        load_picture(workspace, "0" * 64)
    name = save_picture(workspace, PICTURE)
    (workspace.pictures / f"{name}.png").write_bytes(b"torn")
    with pytest.raises(StoreError, match="is damaged: add the picture again"):
        load_picture(workspace, name)
    assert save_picture(workspace, PICTURE) == name
    assert np.array_equal(load_picture(workspace, name), PICTURE), "the remedy of the message works"
