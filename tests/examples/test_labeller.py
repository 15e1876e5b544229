"""The simulated labeller: follows the judge, with the noise and the bias that it was given."""

import numpy as np
import pytest

from engine.mini import world
from examples.tour.labeller import SimulatedLabeller


def test_it_votes_as_its_chances_say():
    labeller = SimulatedLabeller(name="ann", noise=0.2, left_bias=0.5, ties=0)
    choices = [labeller.choose(0.6, 0.5, f"pair {number}") for number in range(2000)]
    assert labeller.chance_of_left(0.6, 0.5) == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert np.mean([choice == "left" for choice in choices]) == pytest.approx(0.731, abs=0.03)


def test_equal_clips_are_ties_as_often_as_wanted_and_the_same_showing_gets_the_same_answer():
    labeller = SimulatedLabeller(name="ann", ties=0.3)
    choices = [labeller.choose(0.5, 0.5, f"pair {number}") for number in range(1000)]
    assert np.mean([choice == "tie" for choice in choices]) == pytest.approx(0.3, abs=0.05)
    assert choices == [labeller.choose(0.5, 0.5, f"pair {number}") for number in range(1000)]
    assert choices != [SimulatedLabeller(name="bob", ties=0.3).choose(0.5, 0.5, f"pair {n}") for n in range(1000)]


def test_it_prefers_the_clip_that_shows_what_was_asked():
    careful = SimulatedLabeller(name="ann", noise=0.02, ties=0)
    red, blue = (
        world.render(world.Scene((world.Subject("circle", colour, "medium", 32.0, 32.0),), "right", "white"), 17)
        for colour in ("red", "blue")
    )
    scene = world.Scene((world.Subject("circle", "red", "medium", 32.0, 32.0),), "right", "white")
    prompt = world.prompt(scene)
    assert careful.compare(red, blue, prompt, "one") == "left"
    assert careful.compare(blue, red, prompt, "two") == "right"
    assert careful.compare(red, blue, "words that it does not know", "three") == "skip"
