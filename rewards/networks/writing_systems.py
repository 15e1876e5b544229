"""The writing system of a prompt. The networks of the rewards were trained on English captions."""

import unicodedata


def latin_share(text: str) -> float:
    """Return the share of the letters of a text that are Latin, 0..1; 1 for a text without letters."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = [letter for letter in letters if unicodedata.name(letter, "").startswith(("LATIN", "FULLWIDTH LATIN"))]
    return len(latin) / len(letters) if letters else 1.0
