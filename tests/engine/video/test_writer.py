"""Frames to files and back; and uploads that are no videos, each with its one sentence."""

import os
import subprocess
import time
import wave
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import MediaError, StoreError
from engine.video.reader import MAX_FRAMES, read_header, read_lossless, read_video
from engine.video.writer import enlargement, write_lossless, write_mp4, write_poster


def noise(num_frames: int = 5, height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def moving_box(num_frames: int = 9) -> np.ndarray:
    frames = np.full((num_frames, 64, 64, 3), (200, 200, 210), np.uint8)
    for index in range(num_frames):
        frames[index, 20:40, 4 * index : 4 * index + 20] = (225, 30, 40)
    return frames


def ffmpeg(*arguments: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


def first_atoms(path: Path, count: int) -> list[str]:
    """The kinds of an mp4's first top-level boxes."""
    data, at, kinds = path.read_bytes(), 0, []
    while len(kinds) < count:
        kinds.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4], "big")
    return kinds


@settings(max_examples=5)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(16, 40), st.integers(16, 40)),
    fps=st.sampled_from([8.0, 24000 / 1001, 0.5, 59.94]),
)
def test_lossless_is_lossless(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], fps: float
) -> None:
    path = tmp_path_factory.mktemp("lossless") / "frames.mkv"
    frames = noise(*shape)
    write_lossless(path, frames, fps)
    again, rate = read_lossless(path)
    assert np.array_equal(again, frames) and again.dtype == np.uint8
    assert rate == fps
    assert sorted(file.name for file in path.parent.iterdir()) == ["frames.mkv"]


def test_a_flipped_bit_in_the_kept_frames_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "frames.mkv"
    write_lossless(path, noise(), 8.0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"'frames\.mkv' is damaged"):
        read_lossless(path)


def test_the_mp4_is_one_that_browsers_play(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, moving_box(), 8.0)
    log = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", path], capture_output=True, text=True, check=False
    ).stderr
    assert "h264" in log and "yuv420p(tv, bt709" in log and "256x256" in log and "8 fps" in log
    assert first_atoms(path, 2) == ["ftyp", "moov"], "the index comes before the pictures"


def test_the_mp4_shows_each_pixel_as_a_square(tmp_path: Path) -> None:
    path, frames = tmp_path / "clip.mp4", moving_box()
    write_mp4(path, frames, 8.0)
    shown, fps = read_video(path)[:2]
    assert shown.shape == (9, 256, 256, 3) and fps == 8.0
    enlarged = frames.repeat(4, axis=1).repeat(4, axis=2)
    assert np.abs(shown[:, 2::4, 2::4].astype(int) - enlarged[:, 2::4, 2::4]).mean() < 4
    reds = shown[0, 120, :, 0].astype(int) - shown[0, 120, :, 1]
    assert reds[60] > 150 and reds[100] < 30, "colours keep their places"


@pytest.mark.parametrize(
    ("height", "width", "scale", "shown"),
    [(33, 47, None, (264, 376)), (33, 47, 1, (34, 48)), (300, 400, None, (300, 400))],
)
def test_odd_sides_get_a_row(
    tmp_path: Path, height: int, width: int, scale: int | None, shown: tuple[int, int]
) -> None:
    write_mp4(tmp_path / "clip.mp4", noise(2, height, width), 8.0, scale=scale)
    header = read_header(tmp_path / "clip.mp4")
    assert (header.height, header.width) == shown


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_enlargement_is_the_least_that_suffices(height: int, width: int) -> None:
    factor, short = enlargement(height, width), min(height, width)
    assert short * factor >= 256 and (factor == 1 or short * (factor - 1) < 256)


def test_the_poster_is_the_middle_frame(tmp_path: Path) -> None:
    frames = moving_box()
    write_poster(tmp_path / "poster.jpg", frames)
    with Image.open(tmp_path / "poster.jpg") as poster:
        shown = np.asarray(poster.convert("RGB"))
    assert shown.shape == (256, 256, 3)
    assert np.abs(shown[2::4, 2::4].astype(int) - frames[4]).mean() < 8


@pytest.mark.parametrize("kind", ["gif", "webm", "avi", "mkv", "mov"])
def test_uploads_of_the_usual_kinds_are_read(tmp_path: Path, kind: str) -> None:
    frames = moving_box()
    write_lossless(tmp_path / "in.mkv", frames, 10.0)
    palette = ["-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse"] if kind == "gif" else []
    ffmpeg("-i", tmp_path / "in.mkv", *palette, tmp_path / f"upload.{kind}")
    again, fps = read_video(tmp_path / f"upload.{kind}")[:2]
    assert again.shape == frames.shape and fps == pytest.approx(10, abs=0.01)
    assert np.abs(again.astype(int) - frames).mean() < 12


def test_a_turned_phone_video_keeps_its_shape(tmp_path: Path) -> None:
    write_lossless(tmp_path / "in.mkv", noise(3, 32, 48), 8.0)
    ffmpeg("-i", tmp_path / "in.mkv", "-pix_fmt", "yuv420p", tmp_path / "flat.mp4")
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "turned.mp4")
    frames, _ = read_video(tmp_path / "turned.mp4")[:2]
    assert frames.shape == (3, 48, 32, 3)


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as said:
        read_video(path)
    sentence = str(said.value)
    assert "\n" not in sentence and path.name in sentence and len(sentence) < 250
    return sentence


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be opened: No such file or directory" in refusal(tmp_path / "gone.mp4")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert "is empty (0 bytes): export or download it again" in refusal(tmp_path / "empty.mp4")


@pytest.mark.parametrize("kind", ["text", "bytes", "cut", "sound", "picture", "playlist", "folder"])
def test_what_is_no_video(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "upload.mp4"
    if kind == "text":
        path.write_text("This is not a video.\n" * 50)
    elif kind == "bytes":
        path.write_bytes(os.urandom(5000))
    elif kind == "cut":
        ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:duration=2", "-pix_fmt", "yuv420p", path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "sound":
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 8000, 8000, "NONE", ""))
            sound.writeframes(bytes(16000))
    elif kind == "picture":
        Image.fromarray(noise(1)[0]).save(path, format="PNG")
    elif kind == "playlist":
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttps://example.org/x.ts\n#EXT-X-ENDLIST\n")
    else:
        path.mkdir()
    assert "is not a video that can be read: use an mp4, mov, webm, mkv, avi or gif" in refusal(path)


@pytest.mark.parametrize("kind", ["gif", "mp4", "webm", "mkv", "avi"])
def test_a_video_whose_end_is_missing(tmp_path: Path, kind: str) -> None:
    """A file with decodable first frames, whose score could be mistaken for that of the clip."""
    path = tmp_path / f"upload.{kind}"
    start = ["-movflags", "+faststart"] if kind == "mp4" else []
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=96x64:rate=12:duration=2",
        "-pix_fmt",
        "rgb8" if kind == "gif" else "yuv420p",
        *start,
        path,
    )
    assert len(read_video(path)[0]) == 24
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert "is damaged or cut off after about" in refusal(path)


def test_a_gif_that_is_only_a_header(tmp_path: Path) -> None:
    path = tmp_path / "upload.gif"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=96x64:rate=12:duration=1", path)
    path.write_bytes(path.read_bytes()[:100])
    assert "is damaged or has no frames: export or download it again" in refusal(path)


def test_sound_in_a_video_container_has_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    assert "is not a video that can be read" in refusal(path)


def test_a_video_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "nothing.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:duration=1", "-frames:v", "0", "-c:v", "mpeg4", path)
    assert "is damaged or has no frames" in refusal(path) or "not a video" in refusal(path)


def test_ten_minutes_of_4k_are_refused_by_their_header(tmp_path: Path) -> None:
    """Write one encoded picture 600 times without encoding it again; decoding would take much longer."""
    second, path = tmp_path / "second.mp4", tmp_path / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=blue:size=3840x2160:rate=1:duration=1", "-preset", "ultrafast", second)
    ffmpeg("-stream_loop", "599", "-i", second, "-c", "copy", path)
    began = time.process_time() + os.times().children_user
    sentence = refusal(path)
    assert "is too large: 600 frames of 3840x2160 px, at most 72 of that size can be read" in sentence
    assert time.process_time() + os.times().children_user - began < 2


def test_many_small_frames_are_too_many(tmp_path: Path) -> None:
    second, path = tmp_path / "second.mp4", tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=32x32:rate=25:duration=1", second)
    ffmpeg("-stream_loop", MAX_FRAMES // 25, "-i", second, "-c", "copy", path)
    assert f"too large: {MAX_FRAMES + 25} frames of 32x32 px, at most {MAX_FRAMES}" in refusal(path)


def test_a_header_that_does_not_say_its_length_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "stream.webm"
    write_lossless(tmp_path / "in.mkv", noise(20), 8.0)
    ffmpeg("-i", tmp_path / "in.mkv", "-c:v", "libvpx", "-live", "1", "-f", "webm", path)
    assert read_header(path).seconds is None
    with pytest.raises(MediaError, match="too large: 11 frames of 48x32 px, at most 10"):
        read_video(path, max_frames=10)
    assert read_video(path, max_frames=20)[0].shape == (20, 32, 48, 3)


def test_names_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "-i a:b 'c' é %d.mkv"
    write_lossless(path, noise(), 8.0)
    assert np.array_equal(read_video(path)[0], noise())


@pytest.mark.parametrize("write", [write_lossless, write_mp4])
def test_a_folder_that_is_not_there(tmp_path: Path, write: object) -> None:
    with pytest.raises(StoreError, match=r"cannot be written: .*No such file.*Free some space or choose another"):
        write(tmp_path / "gone" / "clip.mkv", noise(), 8.0)  # type: ignore[operator]
    with pytest.raises(StoreError, match="cannot be written"):
        write_poster(tmp_path / "gone" / "poster.jpg", noise())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames.mkv"
    write_lossless(path, noise(), 8.0)
    before = path.read_bytes()
    monkeypatch.setattr("engine.files.atomic.secrets.token_hex", lambda _: "half")
    (tmp_path / ".frames.mkv.half.part").symlink_to("/dev/full")
    with pytest.raises(StoreError, match=r"cannot be written: the disk is full\. Free some space"):
        write_lossless(path, noise(40, 64, 64), 8.0)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["frames.mkv"]
