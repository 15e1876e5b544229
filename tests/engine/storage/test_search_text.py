"""Search in any script and Unicode form, on both databases, and for names with pattern characters."""

import unicodedata

import pytest
from sqlalchemy import text

from engine.errors import StoreError
from engine.storage.library import ClipFilter, ClipRecord, Library
from engine.storage.search_text import normalised
from engine.workspace import Workspace

FOLDERS = [
    "what? #1 100% a+b&c",
    'it\'s "here" [a] {b} *',
    "%41 %s {0} $HOME `id` ;",
    "- -rf --help",
    " .hidden ",
    unicodedata.normalize("NFC", "Ünïcode Красный 赤"),
    unicodedata.normalize("NFD", "Ünïcode Красный 赤"),
]


def add(store: Library, number: int, prompt: str) -> None:
    store.add_clip(
        ClipRecord(
            id=f"{number:016x}", prompt=prompt, source="imported", num_frames=1, width=16, height=16, fps=8.0
        )
    )  # fmt: skip


def found(store: Library, words: str) -> list[int]:
    return [int(clip.id, 16) for clip in store.clips(ClipFilter(text=words, order="oldest"))]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("Красный мяч", "красный"),
        ("красный мяч", "КРАСНЫЙ МЯЧ"),
        ("Straße", "STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        (unicodedata.normalize("NFD", "Café à Paris"), unicodedata.normalize("NFC", "café")),
        (unicodedata.normalize("NFC", "Café"), unicodedata.normalize("NFD", "CAFÉ")),
        ("100% of_it \\ [x]", "100% of_it"),
        ("a back\\slash", "\\"),
    ],
)
def test_a_word_is_found_in_any_case_and_form(store, prompt, words):
    add(store, 1, prompt)
    add(store, 2, "another ball")
    assert found(store, words) == [1]


def test_signs_of_patterns_stand_for_themselves(store):
    add(store, 1, "100 of it")
    assert [found(store, sign) for sign in ("%", "_", "*", "[0-9]", "1__")] == [[]] * 5


def test_a_letter_does_not_find_the_same_letter_with_an_accent():
    assert normalised("e") not in normalised("café")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # the step is the same, see test_old_database
def test_rows_from_before_are_searched_too(store):
    add(store, 1, "Красный")
    with store.database.writing() as connection:
        connection.execute(text("UPDATE clips SET search = NULL, number = 0"))
        partial = "pairs_free pairs_gone pairs_dropped assignments_open assignments_repeats"
        whole = "clips_number clips_deleted_at_number_id votes_campaign_id_labeller_current_number"
        whole += " clips_deleted_at_model clips_deleted_at_adapter"
        for index in f"{whole} {partial}".split():
            connection.execute(text(f"DROP INDEX ix_{index}"))
        later = "clips.search clips.number clips.file pairs.free pairs.dropped_at votes.labeller"
        later += " jobs.heartbeat_s jobs.environment"
        for table, column in (name.split(".") for name in later.split()):
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        connection.execute(text("DROP TABLE judge_votes"))
        connection.execute(text("DROP TABLE labellers"))
        connection.execute(text("UPDATE dailies_version SET version_num = '0004'"))
    again = Library(store.workspace)
    assert found(again, "красный") == [1]
    again.close()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_workspace_in_a_folder_of_any_name_holds_its_database(tmp_path, name):
    workspace = Workspace(tmp_path / name / "w")
    store = Library(workspace)
    add(store, 1, name)
    assert found(store, name) == [1]
    store.delete([f"{1:016x}"])
    store.restore([f"{1:016x}"])
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert workspace.database.stat().st_size > 0


@pytest.mark.parametrize("name", ["a\0b", "loop"])
def test_a_folder_that_cannot_be_is_one_sentence(tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreError, match=r"The workspace .* cannot be used: .*--workspace"):
        Workspace(tmp_path / name / "w")


def test_a_home_that_is_not_known_is_one_sentence(monkeypatch):
    def nobody(self: object) -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", nobody)
    with pytest.raises(StoreError, match="cannot be used: Could not determine home directory"):
        Workspace("~/w")
