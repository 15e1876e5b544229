"""Form of a training run, built from the trainers' settings; it requests estimates for its choices."""

from collections.abc import Callable
from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import models, training
from app.text.help import HELP_WORDS, TRAIN_FIELDS
from app.views.training import curricula, train_form


class TrainForm(Component):
    """Form of a run. `value` comes from `app.views.training.train_form.open_form`.

    Event: run_submitted {run}, "" if only a preflight was queued.
    """

    custom_events = ("run_submitted",)

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        def open(key: str) -> dict[str, Any]:
            return (
                curricula.open_form(key)
                if key.startswith(train_form.CURRICULUM)
                else train_form.open_form(context, key)
            )

        def offered(_: Any = None) -> dict[str, Any]:
            return train_form.current_options(context)

        def estimate(choices: train_form.Chosen) -> dict[str, Any]:
            return (curricula if choices.get(curricula.NAME) else train_form).estimate_form(context, choices)

        def queue(choices: train_form.Chosen) -> dict[str, Any]:
            return (curricula if choices.get(curricula.NAME) else train_form).queue(context, choices)

        def check(choices: train_form.Chosen) -> dict[str, Any]:
            return train_form.queue_preflight(context, choices)

        def verdicts(job_id: str) -> dict[str, Any]:
            return train_form.preflight_result(context, job_id)

        def save(choices: train_form.Chosen) -> dict[str, Any]:
            return train_form.save_preset(context, choices)

        functions: list[Callable[..., Any]] = [open, offered, estimate, once(queue), once(check), verdicts, once(save)]
        super().__init__(
            "train_form",
            {},
            words={
                **training.FORM_WORDS,
                "shares": training.SHARES,
                "manage_models": models.MANAGE,
                "fields": TRAIN_FIELDS,
                "about": HELP_WORDS["about"],
            },
            elem_id=name,
            server_functions=[with_problem(function) for function in functions],
            render=render,
        )
