"""What is known of one clip, with the buttons for what can be done with it."""

from typing import Literal

from app.components.base import Component
from app.text import general


class ClipDetails(Component):
    """`value` comes from `app.views.clips.facts`; "head" is the prompt, the score and the buttons, "details" the rest,
    "alone" a head with the links where no details are shown.

    Each action of `text.ACTIONS` is an event of its own name that carries {id} and, for the star, {starred}.
    """

    def __init__(self, name: str, part: Literal["head", "details", "alone"], *, render: bool = True) -> None:
        super().__init__("clip_details", words=general.FACTS_WORDS, elem_id=name, part=part, render=render)
