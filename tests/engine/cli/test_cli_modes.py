"""`dailies generate` with keyframes and windows: the options reach the clip, given pictures come out."""

import json

import numpy as np
import pytest
from PIL import Image

from engine.cli.main import main
from engine.storage.clip_files import load_clip

SMALL = ["--mix", "none", "--json", "--seed", "3", "--steps", "2"]


def made(capsys, *options):
    assert main(["generate", "a red circle", "--model", "tiny", *SMALL, *options]) == 0
    return json.loads(capsys.readouterr().out)["clips"][0]


def test_a_given_keyframe_comes_out(tiny_model, workspace, tmp_path, capsys):
    Image.fromarray(np.full((64, 64, 3), (10, 200, 30), np.uint8)).save(tmp_path / "green.png")
    given = f"8={tmp_path / 'green.png'}"
    clip = made(capsys, "--mode", "keyframes", "--keyframe", given, "--interval", "16", "--flow-guidance", "0.5")
    assert (load_clip(workspace, clip["id"]).frames[8] == (10, 200, 30)).all()
    plan = clip["request"]["keyframes"]
    assert plan["interval"] == 16 and plan["flow_guidance"] == 0.5 and plan["given"][0]["frame"] == 8


def test_windows_are_told_where_they_meet(tiny_model, workspace, capsys):
    clip = made(capsys, "--mode", "windows", "--frames", "30", "--window", "17", "--overlap", "9")
    loaded = load_clip(workspace, clip["id"])
    assert len(loaded.frames) == 30 and loaded.seams == (17, 25)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--mode", "keyframes", "--keyframe", "eight"], "--keyframe takes FRAME=FILE, such as 8=cat.png"),
        (["--mode", "keyframes", "--keyframe", "8=/no/such.png"], "cannot be read as a picture"),
        (["--mode", "keyframes", "--interval", "40"], "interval of 40 is longer than the clip of 17 frames"),
        (["--mode", "keyframes", "--flow-guidance", "2"], "flow_guidance = 2.0 is invalid"),
    ],
)
def test_what_will_not_do_is_said(tiny_model, capsys, options, sentence):
    assert main(["generate", "a red circle", "--model", "tiny", *SMALL, *options]) == 2
    assert sentence in capsys.readouterr().err
