"""What the Generate tab's stage says when it has no takes; in a workspace that has nothing it greets."""

from app.components.base import Component
from app.text import general


class EmptyState(Component):
    """`value` is "" (hidden), "empty" or "new". Events: first_clip, import_clips, new_campaign."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("empty_state", "", words=general.WELCOME_WORDS, elem_id=name, render=render)
