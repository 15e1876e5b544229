"""Text as it is compared when somebody searches: without upper case, and with one form for each accented letter."""

import unicodedata


def normalised(text: str) -> str:
    """Canonical caseless form (The Unicode Standard, section 3.13, definition D145), composed (NFC).

    Composed, so that a search for a letter does not find the same letter with an accent.
    """
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", folded)
