"""Where each curriculum is: its stages in a row, each with what its gate asked and measured."""

from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import monitor as text
from app.views.training.curriculum_progress import resume, strip


class CurriculumProgress(Component):
    """`value` comes from `app.views.training.curriculum_progress.strip`."""

    def __init__(self, name: str, desk: AppContext, *, render: bool = True) -> None:
        def news(_: Any = None) -> dict[str, Any]:
            return strip(desk)

        def go_on(curriculum_id: str) -> dict[str, Any]:
            resume(desk, curriculum_id)
            return strip(desk)

        super().__init__(
            "curriculum_progress",
            {"curricula": []},
            words=text.STAGES_WORDS,
            elem_id=name,
            server_functions=[with_problem(news), with_problem(once(go_on))],
            render=render,
        )
