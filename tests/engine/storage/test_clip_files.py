"""Clips on disk: exact, whole or not there at all."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine.errors import StoreError
from engine.request import GenerationRequest
from engine.storage.clip_files import FILES, has_files, load_clip, remove_files, save_clip
from engine.storage.images import fit_picture, save_picture
from engine.storage.temp_folders import machine, remove_orphans, temp_folders, temp_path
from rewards.clip import Clip

CLIP_ID = "0123456789abcdef"


def test_the_exact_frames_come_back(workspace, clip):
    seamed = Clip(frames=clip.frames, fps=7.5, prompt="a naïve <b>prompt</b>", seams=(3, 6))
    folder = save_clip(workspace, CLIP_ID, seamed)
    again = load_clip(workspace, CLIP_ID)
    assert np.array_equal(again.frames, clip.frames)
    assert (again.fps, again.prompt, again.seams) == (7.5, "a naïve <b>prompt</b>", (3, 6))
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert temp_folders(workspace) == []


def test_the_full_request_lies_beside_the_frames(workspace, clip):
    request = GenerationRequest(prompt="noise", seed=7)
    folder = save_clip(workspace, request.id, clip, request)
    stored = json.loads((folder / "request.json").read_text())
    assert GenerationRequest(**stored["request"]) == request and stored["id"] == request.id


def test_the_given_first_picture_comes_back_at_the_clips_size(workspace, clip):
    picture = np.random.default_rng(3).integers(0, 256, (2 * clip.height, 3 * clip.width, 3), dtype=np.uint8)
    request = GenerationRequest(prompt="noise", image=save_picture(workspace, picture))
    save_clip(workspace, request.id, clip, request)
    again = load_clip(workspace, request.id)
    assert np.array_equal(again.first_picture, fit_picture(picture, clip.width, clip.height))
    (workspace.pictures / f"{request.image}.png").unlink()
    again = load_clip(workspace, request.id)
    assert again.first_picture is None and np.array_equal(again.frames, clip.frames)


def test_a_clip_that_is_there_is_not_written_again(workspace, clip):
    folder = save_clip(workspace, CLIP_ID, clip)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    save_clip(workspace, CLIP_ID, clip)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", FILES)
def test_a_clip_that_lost_a_file_is_written_again(workspace, clip, name):
    folder = save_clip(workspace, CLIP_ID, clip)
    (folder / name).unlink()
    assert not has_files(workspace, CLIP_ID)
    save_clip(workspace, CLIP_ID, clip)
    assert has_files(workspace, CLIP_ID)
    assert np.array_equal(load_clip(workspace, CLIP_ID).frames, clip.frames)


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "no sidecar", "torn sidecar"])
def test_a_damaged_clip_is_one_sentence(workspace, clip, damage):
    folder = save_clip(workspace, CLIP_ID, clip)
    frames, sidecar = folder / "frames.mkv", folder / "request.json"
    content = frames.read_bytes()
    middle = len(content) // 2
    {
        "missing": frames.unlink,
        "cut": lambda: frames.write_bytes(content[:middle]),
        "flipped": lambda: frames.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]),
        "no sidecar": sidecar.unlink,
        "torn sidecar": lambda: sidecar.write_text('{"prompt": "noi'),
    }[damage]()
    with pytest.raises(StoreError, match=f"files of clip {CLIP_ID} .* missing or damaged"):
        load_clip(workspace, CLIP_ID)
    save_clip(workspace, CLIP_ID, clip)
    assert np.array_equal(load_clip(workspace, CLIP_ID).frames, clip.frames), "the remedy of the message works"


def test_many_writers_of_one_clip_leave_one_whole_clip(workspace, clip):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: save_clip(workspace, CLIP_ID, clip), range(4)))
    assert np.array_equal(load_clip(workspace, CLIP_ID).frames, clip.frames)
    assert temp_folders(workspace) == []


def test_a_full_disk_leaves_nothing_and_says_so(workspace):
    """A limit on the size of files stands for the full disk: both fail in the middle of a write."""
    program = (
        "import numpy as np; from rewards.clip import Clip; from engine.errors import StoreError\n"
        "from engine.storage.clip_files import save_clip; from engine.workspace import Workspace\n"
        "frames = np.random.default_rng(0).integers(0, 256, (33, 64, 64, 3), dtype=np.uint8)\n"
        "try: save_clip(Workspace.from_env(), '0123456789abcdef', Clip(frames=frames, fps=8.0))\n"
        "except StoreError as error: print(error)\n"
    )
    limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", program], preexec_fn=limited, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"Clip {CLIP_ID} was not kept: ") and "Free some space" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1
    assert not workspace.clip_folder(CLIP_ID).exists() and temp_folders(workspace) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(workspace, clip):
    shutil.rmtree(workspace.clips)
    workspace.clips.write_text("in the way")
    with pytest.raises(StoreError, match=f"Clip {CLIP_ID} was not kept: Not a directory. Free some space"):
        save_clip(workspace, CLIP_ID, clip)
    assert temp_folders(workspace) == []


def test_sweeping_takes_what_the_dead_left_and_nothing_else(workspace):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host, boot = machine()
    others = "00000000" if host != "00000000" else "11111111"
    kept = {f"{CLIP_ID}.{host}-{boot}.{os.getpid()}.bbbb", f"{CLIP_ID}.{others}-{boot}.{dead.pid}.cccc"}
    orphans = {
        f"{CLIP_ID}.{host}-{boot}.{dead.pid}.aaaa",
        f"{CLIP_ID}.{host}-{others}.{os.getpid()}.dddd",  # of an earlier boot
        f"{CLIP_ID}.{others}-{boot}.{os.getpid()}.eeee",  # of another machine, a day ago
        f"{CLIP_ID}.{os.getpid()}.ffff",
        "from-somewhere",
    }
    for name in (*kept, *orphans):
        (workspace.tmp / name).mkdir()
        (workspace.tmp / name / "frames.mkv").write_bytes(b"half")
        if name.endswith("eeee"):
            for path in (workspace.tmp / name / "frames.mkv", workspace.tmp / name):
                os.utime(path, (time.time() - 90_000,) * 2)
    for name in ("import", "export", "mini_nft-1a2b3c@20", "a.run.with.dots"):
        folder = temp_path(workspace, name)
        folder.mkdir()
        kept.add(folder.name)
    assert remove_orphans(workspace) == len(orphans)
    assert {path.name for path in workspace.tmp.iterdir()} == kept


def test_a_writer_killed_in_the_middle_leaves_no_clip(workspace):
    """Killed between the first file and the rename: the folder under its final name never appears."""
    program = (
        "import sys, numpy as np; from rewards.clip import Clip; from engine.storage import clip_files\n"
        "from engine.workspace import Workspace\n"
        "frames = np.zeros((9, 32, 32, 3), np.uint8)\n"
        "def hold(event, args):\n"
        "    if event == 'os.rename' and 'clips' in str(args[1]):\n"
        "        print('written', flush=True); sys.stdin.read()\n"
        "sys.addaudithook(hold)\n"
        "clip_files.save_clip(Workspace.from_env(), '0123456789abcdef', Clip(frames=frames, fps=8.0))"
    )
    writer = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"written\n"
    assert len(temp_folders(workspace)) == 1
    writer.kill()
    writer.communicate()
    assert not workspace.clip_folder(CLIP_ID).exists()
    assert remove_orphans(workspace) == 1 and temp_folders(workspace) == []


def test_removing_takes_the_folder_and_is_harmless_when_there_is_none(workspace, clip):
    save_clip(workspace, CLIP_ID, clip)
    remove_files(workspace, CLIP_ID)
    remove_files(workspace, CLIP_ID)
    assert not workspace.clip_folder(CLIP_ID).exists() and temp_folders(workspace) == []


def test_a_clip_is_kept_and_removed_where_the_clips_are_a_link_to_another_disk(workspace, clip, tmp_path, monkeypatch):
    """Renames that leave the other disk are refused as the system refuses them."""
    disk, rename = tmp_path / "disk", os.rename
    workspace.clips.rename(disk) if workspace.clips.exists() else disk.mkdir()
    workspace.clips.symlink_to(disk, target_is_directory=True)

    def rename_on_one_disk(source, target):
        if Path(source).resolve().is_relative_to(disk) != Path(target).resolve().is_relative_to(disk):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_on_one_disk)
    save_clip(workspace, CLIP_ID, clip)
    assert load_clip(workspace, CLIP_ID).num_frames == clip.num_frames
    assert workspace.clip_folder(CLIP_ID).resolve().is_relative_to(disk)
    remove_files(workspace, CLIP_ID)
    assert not workspace.clip_folder(CLIP_ID).exists() and temp_folders(workspace) == []


def test_a_folder_whose_replacement_was_killed_between_two_renames_gets_its_name(workspace):
    """Also for adapters; the new content is whole and on the disk by then."""
    target = workspace.adapters / "mine.v2"
    target.mkdir(parents=True)
    (target / "file").write_text("old")
    code = """
import os, sys
from pathlib import Path
from engine.storage.temp_folders import replaced_folder
renames, rename = [], os.replace
def counted(*paths):
    renames.append(paths)
    if len(renames) == 2:
        os._exit(9)
    rename(*paths)
os.replace = counted
with replaced_folder(Path(sys.argv[1])) as partial:
    (partial / "file").write_text("new")
"""
    killed = subprocess.run([sys.executable, "-c", code, str(target)], timeout=120)
    assert killed.returncode == 9 and not target.exists()
    remove_orphans(workspace)
    assert (target / "file").read_text() == "new"
    assert temp_folders(workspace) == [] and list(workspace.adapters.iterdir()) == [target]
