"""Parsing of prompts, in every phrasing, back to the request of the scene; unknown words are ignored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.mini import world
from engine.mini.prompts import Asked, AskedSubject, asked_by, parse


def test_every_way_to_say_a_scene_is_read_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1000):
        scene = world.sample_scene(rng)
        for words in (world.prompt(scene), world.prompt(scene, rng)):
            assert parse(words) == asked_by(scene), words


def test_a_prompt_in_full() -> None:
    asked = parse(
        "A large orange box sliding to the left in the desert, then a blue heart enters, the camera pans right"
    )
    assert asked == Asked(
        subjects=(
            AskedSubject(shape="square", colour="orange", size="large"),
            AskedSubject(shape="heart", colour="blue", late=True),
        ),
        motion="left",
        background="desert",
        pan="right",
    )
    assert (asked.count, asked.late) == (2, True)


@pytest.mark.parametrize(
    ("words", "subjects"),
    [
        ("a red thing", [(None, "red")]),
        ("a star", [("star", None)]),
        ("a circle moving in a circle", [("circle", None)]),
        ("  A\nRED   Ball ", [("circle", "red")]),
        ("redder starlight, crossing", []),
    ],
)
def test_what_is_said_in_part_is_asked_in_part(words: str, subjects: list[tuple[str | None, str | None]]) -> None:
    assert [(subject.shape, subject.colour) for subject in parse(words).subjects] == subjects


@pytest.mark.parametrize("words", ["", "A cat plays the piano.", "moving", "x" * 10_000])
def test_unknown_words_ask_for_nothing(words: str) -> None:
    assert parse(words) == Asked()
    assert parse(words).count is None


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_text_breaks_it(words: str) -> None:
    parse(words)
