"""What a prompt may ask for: a still picture, a loop or a centred composition, of the clip as a whole only."""

import pytest

from rewards.prompt_intent import read_intent, wants_centre


@pytest.mark.parametrize(
    "prompt",
    [
        "static shot of a busy street",
        "a static scene in a kitchen, people cooking",
        "stationary camera, waves on a beach",
        "a still life of fruit, a fly lands on it",
        "a heron stands still while the reeds sway",
        "a motionless guard, tourists pass by",
        "a still photograph hangs on the wall while a cat walks by",
        "a static image hangs behind the speaker",
        "frozen in time, a clock whose hands keep turning",
        "a man standing still in the rain",
        "not a still image of a dog",
        "a looping video plays on a screen, people dance",
    ],
)
def test_words_about_the_camera_or_a_thing_are_no_wish_for_a_still_picture(prompt: str) -> None:
    assert not read_intent(prompt).still


@pytest.mark.parametrize(
    "prompt",
    [
        "a still image of a dog",
        "A still photograph, black and white",
        "static image of a lake",
        "a completely frozen frame showing a splash",
        "freeze frame of a jump",
    ],
)
def test_a_prompt_whose_head_is_a_still_picture_is_one(prompt: str) -> None:
    assert read_intent(prompt).still


@pytest.mark.parametrize(
    "prompt",
    [
        "a looping rollercoaster",
        "a plane flies a perfect loop",
        "a looping video plays on a screen",
        "loop quantum gravity on a blackboard",
        "a dog chasing its tail in a loop of rope",
        "avoid a seamless loop",
    ],
)
def test_words_about_a_thing_are_no_wish_for_a_loop(prompt: str) -> None:
    assert not read_intent(prompt).loop


@pytest.mark.parametrize(
    "prompt",
    [
        "a pink star moving in a circle, looping",
        "waves on a beach, seamless loop",
        "a seamlessly looping animation of a fire",
        "a cinemagraph of a waterfall",
        "city at night, infinite loop video",
    ],
)
def test_a_prompt_that_names_the_clip_a_loop_is_one(prompt: str) -> None:
    assert read_intent(prompt).loop


def test_the_embedded_world_has_a_phrase_of_its_own() -> None:
    prompt = "a red star standing still over a meadow"
    assert read_intent(prompt, "mini-7").still and not read_intent(prompt, "real-7").still
    moving = ("a red star standing still, the camera pans left", "a red star standing still and then a heart enters")
    assert not any(read_intent(text, "mini-7").still for text in moving)


@pytest.mark.parametrize(
    "prompt",
    [
        "a painter paints a portrait of a man",
        "portrait orientation, a dog runs",
        "a portrait painter at work",
        "vertical portrait video of a dog",
        "a symmetrical building",
        "a man centered in thought",
        "a close-up magician on a stage",
        "symmetric keys are exchanged",
    ],
)
def test_words_about_a_thing_or_the_format_ask_for_no_centre(prompt: str) -> None:
    assert not wants_centre(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "a portrait of a star",
        "Cinematic portrait of a man",
        "extreme close-up of an eye",
        "a cat walks, close-up",
        "a woman, centered composition",
        "a dog, centred in the frame",
        "symmetrical composition of a hall",
        "headshot of an actor",
    ],
)
def test_a_portrait_or_a_centred_composition_is_a_wish_for_the_centre(prompt: str) -> None:
    assert wants_centre(prompt)
