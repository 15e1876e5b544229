"""List of all models with their state; it polls the server while a download is active and visible."""

from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import models as text
from app.views import models


class ModelList(Component):
    """List of models. `value` comes from `app.views.models.model_list`. It has no events."""

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        def news(_: Any = None) -> dict[str, Any]:
            return models.model_list(context)

        def ask_get(key: str) -> dict[str, Any]:
            return models.ask_get(key)

        def get(key: str) -> dict[str, Any]:
            return models.get(context, key)

        def cancel(job_id: str) -> dict[str, Any]:
            return models.cancel(context, job_id)

        def ask_remove(key: str) -> dict[str, Any]:
            return models.ask_remove(context, key)

        def add(order: models.NewModel) -> dict[str, Any]:
            return models.add(context, order)

        def remove(key: str) -> dict[str, Any]:
            return models.remove(context, key)

        def save_token(token: str) -> dict[str, Any]:
            return models.save_token(context, token)

        def forget_token(_: Any = None) -> dict[str, Any]:
            return models.drop_token(context)

        reading, changing = (news, ask_get, ask_remove), (get, cancel, add, remove, save_token, forget_token)
        super().__init__(
            "model_list",
            {},
            words=text.LIST_WORDS,
            elem_id=name,
            server_functions=[with_problem(read) for read in reading] + [with_problem(once(do)) for do in changing],
            render=render,
        )
