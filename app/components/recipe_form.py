"""A recipe as a form, made from the trainers' settings. It asks the server itself what its choices need."""

from collections.abc import Callable
from typing import Any

from app import text_train
from app.components.files import Component
from app.desk import Desk
from app.guard import told
from app.once import once
from app.views import curricula, recipe


class RecipeForm(Component):
    """`value` comes from `app.views.recipe.opened`. Event: run_filed {run}, "" when only a check was filed."""

    def __init__(self, name: str, desk: Desk, *, render: bool = True) -> None:
        def open(key: str) -> dict[str, Any]:
            return curricula.opened(key) if key.startswith(recipe.CURRICULUM) else recipe.opened(desk, key)

        def offered(_: Any = None) -> dict[str, Any]:
            return recipe.offered(desk)

        def outlook(choices: recipe.Chosen) -> dict[str, Any]:
            return (curricula if choices.get(curricula.NAME) else recipe).outlook(desk, choices)

        def queue(choices: recipe.Chosen) -> dict[str, Any]:
            return (curricula if choices.get(curricula.NAME) else recipe).queue(desk, choices)

        def check(choices: recipe.Chosen) -> dict[str, Any]:
            return recipe.check(desk, choices)

        def verdicts(job_id: str) -> dict[str, Any]:
            return recipe.verdicts(desk, job_id)

        def save(choices: recipe.Chosen) -> dict[str, Any]:
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
