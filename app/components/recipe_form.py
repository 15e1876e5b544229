"""A recipe as a form, made from the trainers' settings. It asks the server itself what its choices need."""

from collections.abc import Callable
from typing import Any, Required

from typing_extensions import TypedDict

from app import text_train
from app.components.files import Component
from app.desk import Desk
from app.guard import told
from app.once import once
from app.views import curricula, recipe


class Chosen(TypedDict, total=False):
    """What the form's script sends, see `app.views.recipe`."""

    recipe: Required[str]
    run: Required[str]
    curriculum: str | None
    model: str | None
    adapter: str | None
    prompts: str | None
    pairs: str | None
    campaign: str | None
    mix: str | None
    rewards: str | None
    share: str | None
    key: str | None
    settings: Required[dict[str, str | bool | int | float | None]]


class RecipeForm(Component):
    """`value` comes from `app.views.recipe.opened`. Event: run_filed {run}, "" when only a check was filed."""

    def __init__(self, name: str, desk: Desk, *, render: bool = True) -> None:
        def open(key: str) -> dict[str, Any]:
            return curricula.opened(key) if key.startswith(recipe.CURRICULUM) else recipe.opened(desk, key)

        def offered(_: Any = None) -> dict[str, Any]:
            return recipe.offered(desk)

        def outlook(choices: Chosen) -> dict[str, Any]:
            return (curricula if choices.get(curricula.NAME) else recipe).outlook(desk, choices)

        def queue(choices: Chosen) -> dict[str, Any]:
            return (curricula if choices.get(curricula.NAME) else recipe).queue(desk, choices)

        def check(choices: Chosen) -> dict[str, Any]:
            return recipe.check(desk, choices)

        def verdicts(job_id: str) -> dict[str, Any]:
            return recipe.verdicts(desk, job_id)

        def save(choices: Chosen) -> dict[str, Any]:
            return recipe.save(desk, choices)

        functions: list[Callable[..., Any]] = [open, offered, outlook, once(queue), once(check), verdicts, once(save)]
        super().__init__(
            "recipe_form",
            {},
            words={**text_train.FORM_WORDS, "shares": text_train.SHARES},
            elem_id=name,
            server_functions=[told(function) for function in functions],
            render=render,
        )
