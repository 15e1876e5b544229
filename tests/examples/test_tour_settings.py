"""`examples/tour/tour.toml`: both sizes are complete, and errors are reported in one sentence."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.config.presets import load_curriculum, load_train_preset, overlay
from engine.config.prompts import read_prompts
from engine.errors import ConfigError
from engine.jobs.handlers.curriculum import stage_preset
from examples.tour.settings import TourSize, load_tour


@pytest.mark.parametrize("name", ["full", "short"])
def test_a_size_goes_by_what_is_shipped(name: str) -> None:
    size = load_tour(name)
    for training in (size.grpo, size.student):
        assert load_train_preset(training.preset, training.changes).model == size.model
    chosen = {"campaign": "c1", "pairs": None}
    assert load_train_preset(size.dpo.preset, overlay(size.dpo.changes, chosen)).campaign == "c1"
    assert len(load_curriculum(size.curriculum.preset).stages) == len(size.curriculum.updates)


@pytest.mark.parametrize("name", ["full", "short"])
def test_what_is_measured_on_is_not_trained_on(name: str) -> None:
    size = load_tour(name)
    trained = {*read_prompts("mini"), *size.votes.read()}
    assert not trained & {*size.ranking.read(), *size.show.read()}
    assert size.ranking.read() == list(dict.fromkeys(size.ranking.read())), (
        "a prompt twice would make pairs of one entrant"
    )


@pytest.mark.parametrize("name", ["full", "short"])
def test_the_trainers_take_the_settings_of_a_size(name: str, tmp_path: Path) -> None:
    from engine.config.algorithms import ALGORITHMS
    from engine.training.build import build_config
    from examples.tour.steps import STEPS, with_settings
    from rewards.import_object import import_object

    size = load_tour(name)
    assert set(size.minutes) == {step.key for step in STEPS}
    presets = [load_train_preset(one.preset, one.changes) for one in (size.grpo, size.student)]
    presets += [
        stage_preset(stage) for stage in with_settings(load_curriculum(size.curriculum.preset), size.curriculum)
    ]
    for preset in presets:
        built = build_config(import_object(ALGORITHMS[preset.algorithm].settings), preset.settings, tmp_path)
        assert built.max_steps > 0


def test_steps_for_another_number_of_stages_are_refused() -> None:
    from examples.tour.steps import with_settings

    wanted = load_tour("short").curriculum.model_copy(update={"updates": (1, 1)})
    with pytest.raises(ConfigError, match="updates for 2 stages, but the curriculum 'mini_lengths' has 3"):
        with_settings(load_curriculum("mini_lengths"), wanted)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is no tour 'shrt' in tour.toml. Did you mean 'short'"):
        load_tour("shrt")


def test_people_have_names_of_their_own() -> None:
    fields = load_tour("short").model_dump()
    with pytest.raises(ValidationError, match="names of the people must be unique"):
        TourSize(**{**fields, "people": [fields["people"][0], fields["people"][0]]})
