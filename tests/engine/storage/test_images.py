"""Pictures by name: what was kept comes back, and nothing else does."""

import ast
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from engine.errors import StoreError
from engine.storage.images import import_picture, load_picture, read_picture, save_picture

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


def as_file(form: str, picture: np.ndarray = PICTURE) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format=form)
    return content.getvalue()


@pytest.mark.parametrize("form", ["EPS", "TIFF", "BMP", "GIF", "PPM", "PCX"])
def test_no_other_reader_is_given_a_file_by_its_name(
    workspace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments: started.append(arguments))
    (tmp_path / "a.png").write_bytes(as_file(form))
    with pytest.raises(StoreError, match="use a PNG, JPEG or WebP file"):
        import_picture(workspace, tmp_path / "a.png", 16, 16)
    with pytest.raises(StoreError, match="use a PNG, JPEG or WebP file"):
        read_picture(as_file(form), "the picture")
    assert not started


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_the_usual_forms_are_read(form: str) -> None:
    assert read_picture(as_file(form), "the picture").shape == (5, 7, 3)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    huge = io.BytesIO()
    Image.new("1", (2**14, 2**13)).save(huge, format="PNG")
    with pytest.raises(StoreError, match=r"'the picture' has more than 67,108,864 pixels: make it smaller"):
        read_picture(huge.getvalue(), "the picture")


def test_every_picture_is_opened_by_named_formats(root: Path) -> None:
    calls = [
        (path.name, call)
        for package in ("app", "engine", "rewards")
        for path in (root / package).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Image.open"
    ]
    assert len(calls) >= 3
    assert [name for name, call in calls if "formats" not in {one.arg for one in call.keywords}] == []
