"""Progress of curricula: the stages in a row, each with the conditions and measures of its gate."""

from typing import Any

from app.components.base import Component
from app.context import AppContext
from app.events import with_problem
from app.middleware.idempotency import once
from app.text import monitor as text
from app.views.training.curriculum_progress import abandon, curriculum_list, resume


class CurriculumProgress(Component):
    """List of curricula. `value` comes from `app.views.training.curriculum_progress.curriculum_list`."""

    def __init__(self, name: str, context: AppContext, *, render: bool = True) -> None:
        def news(_: Any = None) -> dict[str, Any]:
            return curriculum_list(context)

        def go_on(curriculum_id: str) -> dict[str, Any]:
            resume(context, curriculum_id)
            return curriculum_list(context)

        def end(curriculum_id: str) -> dict[str, Any]:
            abandon(context, curriculum_id)
            return curriculum_list(context)

        super().__init__(
            "curriculum_progress",
            {"curricula": []},
            words=text.STAGES_WORDS,
            elem_id=name,
            server_functions=[with_problem(news), with_problem(once(go_on)), with_problem(once(end))],
            render=render,
        )
