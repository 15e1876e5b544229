"""`dailies generate` with keyframes and windows: the options reach the clip, given pictures come out."""

import json
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from engine.cli.main import main
from engine.errors import StoreError
from engine.jobs.context import JobContext
from engine.jobs.handlers.generate import generate_clips
from engine.jobs.spec import GenerateConfig
from engine.request import GenerationRequest
from engine.storage.clip_files import load_clip
from engine.storage.library import Library

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


def test_clips_begin_with_their_pictures(tiny_model, workspace, tmp_path, capsys):
    """Of one prompt and seed: each picture gives a clip of its own; the file may go."""
    for name, colour in (("green", (10, 200, 30)), ("blue", (0, 10, 220))):
        Image.fromarray(np.full((80, 100, 3), colour, np.uint8)).save(tmp_path / f"{name}.png")
    clips = [made(capsys, "--image", str(tmp_path / f"{name}.png")) for name in ("green", "blue")]
    plain = made(capsys)
    frames = [load_clip(workspace, clip["id"]).frames for clip in (*clips, plain)]
    assert len({clip["id"] for clip in (*clips, plain)}) == 3 and clips[0]["request"]["image"]
    assert not np.array_equal(frames[0][0], frames[1][0]) and not np.array_equal(frames[0][0], frames[2][0])
    (tmp_path / "green.png").unlink()
    again = made(capsys, "--last-image", str(tmp_path / "blue.png"))
    assert again["request"]["last_image"] == clips[1]["request"]["image"]


def test_every_row_of_a_file_is_made(tiny_model, workspace, tmp_path, capsys):
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(tmp_path / "grey.png")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a ball", "negative": "dark"}\n{"prompt": "a cube", "image": "grey.png"}\n')
    assert main(["generate", "--prompts", str(rows), "--model", "tiny", "--variations", "2", *SMALL]) == 0
    clips = json.loads(capsys.readouterr().out)["clips"]
    assert [(clip["prompt"], clip["seed"]) for clip in clips] == [("a ball", 3), ("a ball", 4)] + [
        ("a cube", 3),
        ("a cube", 4),
    ]
    requests = [clip["request"] for clip in clips]
    assert requests[0]["negative_prompt"] == "dark" and requests[0]["image"] is None and requests[3]["image"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            '{"prompt": "a cube", "image": "none.png"}',
            "rows.jsonl, line 1, column 'image': there is no file 'none.png'",
        ),
        ('{"prompt": "a cube", "image": "rows.jsonl"}', "line 1, column 'image': '"),
        ('{"text": "a cube"}', "line 1, column 'prompt': there is no prompt"),
    ],
)
def test_rows_that_will_not_do_are_said(tiny_model, tmp_path, capsys, row, sentence):
    (tmp_path / "rows.jsonl").write_text(row + "\n")
    assert main(["generate", "--prompts", str(tmp_path / "rows.jsonl"), "--model", "tiny", *SMALL]) == 2
    assert sentence in capsys.readouterr().err


def test_a_prompt_or_a_file(tiny_model, capsys):
    for given in ([], ["a ball", "--prompts", "mini"]):
        assert main(["generate", *given, "--model", "tiny", *SMALL]) == 2
        assert "Give either a prompt or --prompts FILE." in capsys.readouterr().err


def test_pictures_that_are_gone_fail_the_job_at_once(tiny_model, workspace, tmp_path, capsys):
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(tmp_path / "grey.png")
    clip = made(capsys, "--image", str(tmp_path / "grey.png"))
    request = GenerationRequest(**clip["request"]).with_seed(9)
    for picture in workspace.pictures.iterdir():
        picture.unlink()
    with closing(Library(workspace)) as library:
        steps = generate_clips(GenerateConfig(requests=(request,)), JobContext(store=library))
        with pytest.raises(StoreError, match="is not in this workspace: add the picture again"):
            next(steps)
