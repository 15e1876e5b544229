"""Where each curriculum is: its stages in a row, each with what its gate asked and measured."""

from typing import Any

from app import text_monitor as text
from app.components.files import Component
from app.desk import Desk
from app.guard import told
from app.once import once
from app.views.stages import resume, strip


class StageStrip(Component):
    """`value` comes from `app.views.stages.strip`."""

    def __init__(self, name: str, desk: Desk, *, render: bool = True) -> None:
        def news(_: Any = None) -> dict[str, Any]:
            return strip(desk)

        def go_on(curriculum_id: str) -> dict[str, Any]:
            resume(desk, curriculum_id)
            return strip(desk)

        super().__init__(
            "stage_strip",
            {"curricula": []},
            words=text.STAGES_WORDS,
            elem_id=name,
            server_functions=[told(news), told(once(go_on))],
            render=render,
        )
