"""Files from elsewhere become clips."""

import numpy as np
import pytest

from engine.errors import ConfigError, MediaError
from engine.runs.purge import purge
from engine.storage.clip_files import has_files, load_clip
from engine.storage.library import ClipFilter
from engine.storage.video_import import clips_kept, import_clip, read_record
from engine.video.writer import write_lossless, write_mp4


@pytest.fixture
def video(tmp_path, clip):
    path = tmp_path / "from elsewhere.mkv"
    write_lossless(path, clip.frames, 12.5)
    return path


def test_an_imported_file_is_a_clip_with_its_exact_frames(store, video, clip):
    record = import_clip(store, video, "what it shows")
    assert (record.source, record.prompt, record.fps, record.num_frames) == ("imported", "what it shows", 12.5, 9)
    assert (record.width, record.height, record.request) == (48, 32, None)
    assert np.array_equal(load_clip(store.workspace, record.id).frames, clip.frames)
    assert store.clips(ClipFilter(source="imported")) == [record]


def test_the_same_file_and_prompt_are_one_clip(store, video, tmp_path, clip):
    first = import_clip(store, video, "a")
    write_lossless(tmp_path / "copy.mkv", clip.frames, 12.5)
    assert import_clip(store, tmp_path / "copy.mkv", "a").id == first.id
    assert import_clip(store, video, "b").id != first.id
    assert store.count() == 2


def test_an_mp4_is_read_as_a_browser_shows_it(store, tmp_path, clip):
    write_mp4(tmp_path / "small.mp4", clip.frames, 8.0)
    record = import_clip(store, str(tmp_path / "small.mp4"))
    assert min(record.width, record.height) >= 256 and record.num_frames == 9


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "0 bytes"), (b"no video" * 99, "not a video"), (None, "opened")]
)
def test_what_is_no_video_is_refused_and_nothing_is_kept(store, tmp_path, content, sentence):
    path = tmp_path / "upload.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=sentence):
        import_clip(store, path, "a prompt")
    assert store.count() == 0 and list(store.workspace.clips.iterdir()) == []


def test_a_failing_import_leaves_what_a_parallel_one_has_recorded(store, video):
    with pytest.raises(ConfigError), clips_kept(store) as keep:
        keep(*read_record(video))
        recorded = import_clip(store, video)
        keep(*read_record(video, "of the failing one alone"))
        raise ConfigError("the next row cannot be used")
    assert load_clip(store.workspace, recorded.id).num_frames == 9
    assert [folder.name for folder in store.workspace.clips.glob("*/*")] == [recorded.id]


def test_an_endless_prompt_is_refused(store, video):
    with pytest.raises(ConfigError, match="at most 2000 characters, but got 10000"):
        import_clip(store, video, "x" * 10_000)


def test_purging_removes_rows_and_files_of_what_was_deleted_long_ago(store, video):
    from datetime import timedelta

    kept, gone = import_clip(store, video, "kept"), import_clip(store, video, "gone")
    store.delete([gone.id])
    assert purge(store) == 0, "a week to change one's mind"
    assert purge(store, older_than=timedelta(0)) == 1
    assert store.restore([gone.id]) == 0
    assert not has_files(store.workspace, gone.id) and has_files(store.workspace, kept.id)
