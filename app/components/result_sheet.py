"""A campaign in figures: how far it is, how well people agree, a row a labeller, and the exports."""

from app import text_label
from app.components.files import Component


class ResultSheet(Component):
    """`value` comes from `app.views.campaigns.sheet`."""

    def __init__(self, name: str, *, render: bool = True) -> None:
        super().__init__("result_sheet", words=text_label.SHEET_WORDS, elem_id=name, render=render)
