"""A recipe as a form, made from the trainers' settings. It asks the server itself what its choices need."""

from collections.abc import Callable
from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import training
from app.views.training import curricula, train_form


class TrainForm(Component):
    """`value` comes from `app.views.training.train_form.opened`. Event.

    Run_filed {run}, "" when only a check was filed.
    """

    def __init__(self, name: str, desk: AppContext, *, render: bool = True) -> None:
        def open(key: str) -> dict[str, Any]:
            return curricula.opened(key) if key.startswith(train_form.CURRICULUM) else train_form.opened(desk, key)

        def offered(_: Any = None) -> dict[str, Any]:
            return train_form.offered(desk)

        def outlook(choices: train_form.Chosen) -> dict[str, Any]:
            return (curricula if choices.get(curricula.NAME) else train_form).outlook(desk, choices)

        def queue(choices: train_form.Chosen) -> dict[str, Any]:
            return (curricula if choices.get(curricula.NAME) else train_form).queue(desk, choices)

        def check(choices: train_form.Chosen) -> dict[str, Any]:
            return train_form.check(desk, choices)

        def verdicts(job_id: str) -> dict[str, Any]:
            return train_form.verdicts(desk, job_id)

        def save(choices: train_form.Chosen) -> dict[str, Any]:
            return train_form.save(desk, choices)

        functions: list[Callable[..., Any]] = [open, offered, outlook, once(queue), once(check), verdicts, once(save)]
        super().__init__(
            "train_form",
            {},
            words={**training.FORM_WORDS, "shares": training.SHARES},
            elem_id=name,
            server_functions=[with_problem(function) for function in functions],
            render=render,
        )
