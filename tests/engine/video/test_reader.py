"""Common kinds of videos are read with the right frame count, times and colours, compared with ffmpeg."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import MediaError
from engine.video.frame_times import constant_rate, regular_slots
from engine.video.reader import check_video, read_header, read_video, skipped_in, videos_in
from engine.video.tone_mapping import GAMMA, SDR_WHITE, pq_code, pq_light, to_sdr, tone_curve

TEST_PICTURE = "testsrc2=size=96x64:rate=12:duration=2"
VIDEOS = Path(__file__).parents[4] / "shared" / "videos"


def ffmpeg(*arguments: object, stdin: bytes = b"") -> str:
    """Run ffmpeg and return what it prints."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=True)
    return done.stderr.decode()


def reference(path: Path, filters: str, height: int, width: int) -> np.ndarray:
    """Frames as ffmpeg's program decodes them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:v:0", "-vf", filters]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


# ---- A decoder's remarks are no damage


def recoded(tmp_path: Path, change: Callable[[int, bytes], bytes]) -> Path:
    """A complete H.264 file of 24 frames, each packet of which went through `change(index, packet)`."""
    plain, path = tmp_path / "plain.mp4", tmp_path / "phone.mp4"
    ffmpeg("-f", "lavfi", "-i", TEST_PICTURE, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "0", plain)
    with av.open(str(plain)) as source, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(video=0)):
            if packet.size:
                again = av.Packet(change(index, bytes(packet)))
                again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                again.duration, again.is_keyframe, again.stream = packet.duration, packet.is_keyframe, stream
                copy.mux(again)
    return path


def test_remarks_of_the_decoder_do_not_make_a_file_damaged(tmp_path: Path) -> None:
    stray = b"\x00\x00\x00\x01\x41"  # a unit of one byte that claims to be a slice
    noisy = recoded(tmp_path, lambda index, packet: packet + (stray if index in (5, 9) else b""))
    assert ffmpeg("-i", noisy, "-f", "null", "-").strip(), "the file is one that ffmpeg remarks on"
    video = read_video(noisy)
    assert len(video.frames) == 24 and video.fps == 12
    assert largest_difference(video.frames, reference(noisy, "null", 64, 96)) <= 2


@pytest.mark.parametrize("hurt", [1, 12, 23])
def test_concealed_frames_are_damage(hurt: int, tmp_path: Path) -> None:
    # Flipped bytes can spell another valid slice; a slice that ends early cannot, whichever encoder made it.
    def without_its_end(index: int, packet: bytes) -> bytes:
        if index != hurt:
            return packet
        kept = packet[: len(packet) // 2]
        return (len(kept) - 4).to_bytes(4, "big") + kept[4:]  # the unit's length in front of it

    with pytest.raises(MediaError, match="is damaged or cut off after about"):
        read_video(recoded(tmp_path, without_its_end))


@pytest.mark.parametrize("name", ["corrupted.mp4", "unordered.mov", "video_90.mov"])
def test_odd_files(name: str) -> None:
    path = VIDEOS / "odd" / name
    if not path.exists():
        pytest.skip("shared/videos is not next to this checkout")
    if name == "corrupted.mp4":
        with pytest.raises(MediaError, match="is damaged or cut off"):
            read_video(path)
        return
    height, width = (568, 320) if name == "video_90.mov" else (50, 50)
    assert largest_difference(read_video(path).frames, reference(path, "null", height, width)) <= 2


# ---- Lengths are those of the video stream


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "avi", "webm"])
def test_the_length_of_sound_is_not_that_of_the_video(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"song.{kind}"
    codecs = ["-c:v", "libvpx", "-c:a", "libopus"] if kind == "webm" else ["-pix_fmt", "yuv420p"]
    picture = "testsrc2=size=32x32:rate=24:duration=2"
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=duration=120", *codecs, path)
    assert read_header(path).num_frames in (48, 49)  # an AVI ends with an empty frame
    video = read_video(path, max_frames=60)
    assert video.frames.shape == (48, 32, 32, 3) and video.fps == 24 and video.notes == ()


def test_the_page_and_the_job_refuse_the_same_file(tmp_path: Path) -> None:
    second, path = tmp_path / "second.mp4", tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=32x32:rate=25:duration=1", second)
    ffmpeg("-stream_loop", 80, "-i", second, "-c", "copy", path)
    sentences = []
    for read in (check_video, read_video):
        with pytest.raises(MediaError) as refused:
            read(path)
        sentences.append(str(refused.value))
    assert "too large: 2025 frames" in sentences[0] and sentences[0] == sentences[1]


# ---- Times


def test_frames_of_a_variable_rate_stand_at_their_times(tmp_path: Path) -> None:
    """12 frames at 24 fps, then 12 at 8 fps: 2 s in all, where the count alone would say 1 s."""
    path = tmp_path / "varying.webm"
    filters = "setpts='if(lt(N,12),N/24,0.5+(N-12)/8)/TB'"
    picture = "testsrc2=size=64x64:rate=24:duration=1"
    codec = ["-c:v", "libvpx", "-g", "1", "-crf", "4", "-b:v", "2M"]
    ffmpeg("-f", "lavfi", "-i", picture, "-vf", filters, "-fps_mode", "vfr", "-enc_time_base", "1/1000", *codec, path)
    video, plain = read_video(path), reference(path, "null", 64, 64)
    assert video.fps == pytest.approx(24, rel=0.02) and len(plain) == 24
    assert len(video.frames) / video.fps == pytest.approx(2.0, abs=0.13)
    expected = [*range(12), *np.repeat(np.arange(12, 24), 3)]
    assert all(largest_difference(video.frames[k], plain[i]) <= 2 for k, i in enumerate(expected[: len(video.frames)]))
    assert "The frame rate varies: 24 frames became" in video.notes[0]


def test_a_gif_that_pauses_before_it_repeats_keeps_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "pause.gif"
    pictures = [Image.fromarray(np.full((32, 32, 3), 20 * index, np.uint8)) for index in range(10)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100] * 9 + [1300], loop=0)
    video = read_video(path)
    assert len(video.frames) == 10 and video.fps == pytest.approx(10)


def test_a_last_frame_that_is_held_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "held.mp4"
    picture = "testsrc2=size=64x64:rate=10:duration=1"
    times = "setpts='if(lt(N,9),N/10,2.0)/TB'"
    ffmpeg("-f", "lavfi", "-i", picture, "-vf", times, "-fps_mode", "vfr", "-pix_fmt", "yuv420p", path)
    video = read_video(path)
    assert video.fps == pytest.approx(10) and 20 <= len(video.frames) <= 22
    assert (video.frames[9:20] == video.frames[8]).all() and not (video.frames[20] == video.frames[8]).all()


@given(
    fps=st.sampled_from([8.0, 23.976, 29.97, 60.0]),
    count=st.integers(2, 200),
    jitter=st.floats(0, 0.2),
    seed=st.integers(0, 100),
)
def test_jitter_below_half_a_step_is_a_constant_rate(fps: float, count: int, jitter: float, seed: int) -> None:
    noise = np.random.default_rng(seed).uniform(-jitter, jitter, count)
    times = np.sort(np.round((np.arange(count) + noise) / fps, 3))
    rate = constant_rate(times, [fps], None)
    assert rate is not None and abs(rate / fps - 1) <= 2 * (jitter + 0.06) / (count - 1)


@given(st.lists(st.floats(0.01, 0.5), min_size=2, max_size=60))
def test_slots_keep_the_order_and_the_length(steps: list[float]) -> None:
    times = np.concatenate([[0.0], np.cumsum(steps)])
    fps, shown = regular_slots(times, [], None)
    assert (np.diff(shown) >= 0).all() and shown[0] <= 1 and shown[-1] == len(times) - 1
    assert len(shown) / fps == pytest.approx(times[-1] + 1 / fps, abs=1 / fps)


# ---- Pixels


def test_pixels_are_made_square(tmp_path: Path) -> None:
    path = tmp_path / "anamorphic.mp4"
    ffmpeg("-f", "lavfi", "-i", TEST_PICTURE, "-vf", "setsar=4/3", "-pix_fmt", "yuv420p", path)
    video, header = read_video(path), read_header(path)
    assert video.frames.shape == (24, 64, 128, 3) and (header.width, header.height) == (128, 64)
    assert largest_difference(video.frames, reference(path, "format=rgb24,scale=128:64", 64, 128)) <= 2
    assert video.notes == ("Pixels of 4:3 were made square.",)


def test_interlaced_frames_are_deinterlaced(tmp_path: Path) -> None:
    path = tmp_path / "tv.mkv"
    moving = "testsrc2=size=96x64:rate=24:duration=1"
    codec = ["-c:v", "libx264", "-x264-params", "tff=1", "-crf", "1", "-pix_fmt", "yuv420p"]
    ffmpeg("-f", "lavfi", "-i", moving, "-vf", "interlace=scan=tff:lowpass=off", *codec, path)
    video = read_video(path)
    combed = reference(path, "null", 64, 96)
    expected = reference(path, "bwdif=mode=send_frame:deint=interlaced", 64, 96)
    assert len(video.frames) == 12 and largest_difference(video.frames, combed) > 50
    # The first frame has no frame before it; versions of the filter fill it in differently.
    assert largest_difference(video.frames[1:], expected[1:]) <= 2
    assert video.notes == ("Interlaced frames were deinterlaced.",)


@pytest.mark.parametrize("kind", ["webm", "mov"])
def test_transparent_parts_are_composited(tmp_path: Path, kind: str) -> None:
    """The left half is opaque, the right half has colours under an alpha of nothing."""
    path = tmp_path / f"cutout.{kind}"
    frames = np.full((6, 64, 64, 4), (200, 120, 40, 255), np.uint8)
    frames[:, :, 32:, 3] = 0
    raw = ["-f", "rawvideo", "-pix_fmt", "rgba", "-video_size", "64x64", "-framerate", "12", "-i", "-"]
    codec = ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-crf", "4"] if kind == "webm" else ["-c:v", "qtrle"]
    ffmpeg(*raw, *codec, path, stdin=frames.tobytes())
    video = read_video(path)
    assert largest_difference(video.frames[:, :, :28], np.array([200, 120, 40])) <= 6
    assert video.frames[:, :, 36:].max() <= 6
    assert video.notes == ("Transparent parts were composited on black.",)


SDR_PATCHES = np.array(
    [[0, 0, 0], [16, 16, 16], [64, 64, 64], [128, 128, 128], [170, 60, 60], [50, 160, 70], [60, 70, 150]], np.uint8
)
TO_BT2020 = np.array([[0.627404, 0.329283, 0.043313], [0.069097, 0.919540, 0.011362], [0.016391, 0.088013, 0.895595]])


def hdr_file(path: Path, transfer: str) -> None:
    """Return the patches side by side as four frames of 10-bit BT.2020 video; white is 203 cd/m2."""
    light = (SDR_PATCHES / 255) ** GAMMA * SDR_WHITE @ TO_BT2020.T
    if transfer == "smpte2084":
        codes = pq_code(light)
    else:
        luminance = (light / 1000 @ [0.2627, 0.6780, 0.0593])[:, None]
        scene = light / 1000 * np.maximum(luminance, 1e-9) ** (1 / 1.2 - 1)
        logarithmic = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        codes = np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithmic)
    frame = np.repeat(np.repeat(codes[None], 64, axis=0), 32, axis=1)
    raw = np.round(np.stack([frame] * 4) * 65535).astype("<u2")
    source = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb48le",
        "-video_size",
        f"{32 * len(SDR_PATCHES)}x64",
        "-r",
        "8",
        "-i",
        "-",
    ]
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    filters = f"scale=out_color_matrix=bt2020:out_range=tv:flags=accurate_rnd,format=yuv444p12le,{tags}"
    ffmpeg(*source, "-vf", filters, "-c:v", "ffv1", path, stdin=raw.tobytes())


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
def test_hdr_is_tone_mapped(tmp_path: Path, transfer: str, name: str) -> None:
    """Patches below the knee of the tone curve come back as they were in SDR."""
    path = tmp_path / "hdr.mkv"
    hdr_file(path, transfer)
    video = read_video(path)
    shown = video.frames[1, 32, 16::32]
    assert largest_difference(shown, SDR_PATCHES) <= 2
    assert video.notes == (f"HDR ({name}) colours were converted to SDR (BT.709).",)


def test_pq_agrees_with_the_reference_decoder(tmp_path: Path) -> None:
    """Below the knee, ffmpeg's zscale gives the same colours."""
    path = tmp_path / "hdr.mkv"
    hdr_file(path, "smpte2084")
    chain = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,zscale=t=bt709:m=gbr:r=pc,format=gbrp"
    expected = reference(path, chain, 64, 32 * len(SDR_PATCHES))
    assert largest_difference(read_video(path).frames[:, :, 16::32], expected[:, :, 16::32]) <= 2


def test_the_tone_curve_is_monotonic_and_ends_at_white() -> None:
    light = np.linspace(0, 1000, 2001)
    mapped = tone_curve(light)
    assert (np.diff(mapped) >= 0).all() and mapped[-1] == pytest.approx(SDR_WHITE, rel=1e-3)
    assert np.allclose(mapped[light <= 87], light[light <= 87], rtol=1e-5)
    assert np.allclose(pq_light(pq_code(light)), light, rtol=1e-6, atol=1e-6)
    assert pq_code(np.array(10_000.0)) == pytest.approx(1.0)


def test_wide_gamut_sdr_keeps_greys() -> None:
    greys = np.repeat(np.linspace(0, 65535, 64).astype(np.uint16)[:, None], 3, axis=1)
    assert largest_difference(to_sdr(greys, "sdr", wide_gamut=True), np.round(greys / 257)) <= 1


# ---- Folders, and files of any content


def test_files_that_are_left_out_of_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.ts", "c.webp", ".hidden.ts", "a.txt", "notes.pdf"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    assert [path.name for path in videos_in(tmp_path)] == ["a.mp4"]
    skipped = skipped_in(tmp_path)
    assert sorted(skipped) == ["b.ts", "c.webp", "dead.mp4"]
    assert "convert it" in skipped["b.ts"] and "leads nowhere" in skipped["dead.mp4"]


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    for kind in ("mp4", "webm", "avi", "mkv", "gif"):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=8:duration=1", folder / f"clip.{kind}")
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_damage_is_one_sentence_or_a_whole_clip(
    tmp_path_factory: pytest.TempPathFactory, whole_files: dict[str, bytes], data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(sorted(whole_files)))
    content = bytearray(whole_files[suffix])
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[at] ^= data.draw(st.integers(1, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(content)
    try:
        video = read_video(path)
    except MediaError as error:
        assert "\n" not in str(error) and path.name in str(error)
    else:
        assert video.frames.ndim == 4 and len(video.frames) >= 1 and 0 < video.fps <= 1000
