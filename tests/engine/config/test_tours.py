"""`presets/tour.toml`: both sizes are whole, and what is wrong is said in a sentence."""

import pytest
from pydantic import ValidationError

from engine.config.presets import load_curriculum, load_train_preset, overlay, read_prompts
from engine.config.tours import TourSize, load_tour
from engine.errors import ConfigError


@pytest.mark.parametrize("name", ["full", "short"])
def test_a_size_goes_by_what_is_shipped(name: str) -> None:
    size = load_tour(name)
    for training in (size.grpo, size.student):
        assert load_train_preset(training.recipe, training.changes).model == size.model
    chosen = {"campaign": "c1", "pairs": None}
    assert load_train_preset(size.dpo.recipe, overlay(size.dpo.changes, chosen)).campaign == "c1"
    assert len(load_curriculum(size.curriculum.preset).stages) == len(size.curriculum.steps)


@pytest.mark.parametrize("name", ["full", "short"])
def test_what_is_measured_on_is_not_trained_on(name: str) -> None:
    size = load_tour(name)
    trained = {*read_prompts("mini"), *size.votes.read()}
    assert not trained & {*size.ranking.read(), *size.show.read()}
    assert size.ranking.read() == list(dict.fromkeys(size.ranking.read())), (
        "a prompt twice would make pairs of one entrant"
    )


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is no tour 'shrt' in tour.toml. Did you mean 'short'"):
        load_tour("shrt")


def test_people_have_names_of_their_own() -> None:
    fields = load_tour("short").model_dump()
    with pytest.raises(ValidationError, match="names of their own"):
        TourSize(**{**fields, "people": [fields["people"][0], fields["people"][0]]})
