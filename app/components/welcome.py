"""What the Generate tab's stage says when it has no takes; in a workspace that has nothing it greets."""

from app.components.files import Component
from app.text import general


class Welcome(Component):
    """`value` is "" (hidden), "empty" or "new". Events: first_clip, import_clips, new_campaign."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("welcome", "", words=general.WELCOME_WORDS, elem_id=name, render=render)
