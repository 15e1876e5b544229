"""End positions of a prompt's tokens, for the tokenizer files in model folders. Imports no torch.

tokenizer.json             any tokenizer of the tokenizers library
spiece.model               T5 and UMT5 (LTX, CogVideoX): sentencepiece
vocab.json + merges.txt    CLIP (AnimateDiff): byte pairs
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

WHOLE_WORDS = "WordLevel"  # class of a vocabulary of whole words in the tokenizers library
TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "vocab.json")
# CLIP's splitting of text before byte-pair encoding: the regular expression of its tokenizer, arXiv:2103.00020.
CLIP_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class PromptTokenizer(Protocol):
    """A tokenizer that adds `num_special` tokens to those of the prompt."""

    num_special: int

    def token_ends(self, prompt: str) -> list[int]:
        """Return the index of the character after each token of the prompt."""
        ...

    def unknown(self, prompt: str) -> list[str]:
        """Return the words that a vocabulary of whole words lacks; none for vocabularies of parts of words."""
        ...


@lru_cache(maxsize=4)
def open_prompt_tokenizer(folder: Path) -> PromptTokenizer:
    """Return the tokenizer of a folder that has one of `TOKENIZER_FILES`."""
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        return _Fast(Tokenizer.from_file(str(folder / "tokenizer.json")))
    if (folder / "spiece.model").is_file():
        return _SentencePiece(folder / "spiece.model")
    return _Fast(_clip_tokenizer(folder), num_special=2)


class _Fast:
    def __init__(self, tokenizer: Any, num_special: int | None = None) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.num_special = tokenizer.num_special_tokens_to_add(is_pair=False) if num_special is None else num_special

    def token_ends(self, prompt: str) -> list[int]:
        return [end for _, end in self._tokenizer.encode(prompt, add_special_tokens=False).offsets]

    def unknown(self, prompt: str) -> list[str]:
        if type(self._tokenizer.model).__name__ != WHOLE_WORDS:
            return []
        encoded, absent = self._tokenizer.encode(prompt, add_special_tokens=False), self._tokenizer.model.unk_token
        places = zip(encoded.tokens, encoded.offsets, strict=True)
        return [prompt[start:end] for token, (start, end) in places if token == absent]


class _SentencePiece:
    num_special = 1  # T5 ends a text with </s>

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        self._processor = SentencePieceProcessor(model_file=str(path))

    def token_ends(self, prompt: str) -> list[int]:
        encoded = prompt.encode()  # sentencepiece counts bytes
        pieces = self._processor.encode(prompt, return_type="proto").pieces
        return [len(encoded[: piece.end].decode(errors="ignore")) for piece in pieces]

    def unknown(self, prompt: str) -> list[str]:
        return []


def _clip_tokenizer(folder: Path) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    tokenizer = Tokenizer(models.BPE.from_file(*files, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    steps = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    split = pre_tokenizers.Split(Regex(CLIP_SPLIT), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer
