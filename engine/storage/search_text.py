"""Normalisation of text for searching: case-insensitive, with one form for each accented letter."""

import unicodedata


def normalised(text: str) -> str:
    """Return the canonical caseless form (Unicode Standard, section 3.13, D145), composed (NFC).

    With composition, a search for a letter does not match the same letter with an accent.
    """
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", folded)
