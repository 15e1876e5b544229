"""What is known of one clip, with the buttons for what can be done with it."""

from typing import Any

from app import text
from app.components.files import Component


class ClipFacts(Component):
    """`value` comes from `app.views.clips.facts`; `brief` shows the prompt, the score and the buttons only.

    Each action of `text.ACTIONS` is an event of its own name that carries {id}.
    """

    def __init__(self, name: str, value: dict[str, Any] | None = None, *, brief: bool = False, render: bool = True) -> None:
        super().__init__("clip_facts", value, words=text.FACTS_WORDS, elem_id=name, brief=brief, render=render)
