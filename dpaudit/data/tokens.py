"""From texts to tokens and back: bytes, or a tokenizer that the library ``tokenizers`` reads from a file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from dpaudit.runtime.errors import InputError, MissingDependency


class TextTokenizer(Protocol):
    """Whole numbers for a text; one more number than it uses itself marks where a text begins and ends."""

    @property
    def end(self) -> int:
        """The number before the first and behind the last token of a text; numbers below it are tokens."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, without marks."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; what is no token of it is left out."""
        ...


@dataclass(frozen=True)
class Bytes:
    """The bytes of a text in UTF-8: 256 tokens, and nothing is learned from any text.

    >>> Bytes().encode(["ab"]), Bytes().decode([97, 98, 256])
    ([[97, 98]], 'ab')
    """

    end: int = 256

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Bytes of each text."""
        return [list(text.encode()) for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        """Broken characters, as where a text is cut, become �."""
        return bytes(token for token in tokens if token < self.end).decode(errors="replace")


@dataclass(frozen=True)
class TokenizerFile:
    """A tokenizer in a file such as ``tokenizer.json``; it must not have been fitted to the private texts.

    Raises:
        InputError: the file is missing or holds no tokenizer.
        MissingDependency: the library is not installed.
    """

    path: str

    @cached_property
    def _read(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingDependency(f"{self.path} needs the library tokenizers: pip install 'dpaudit[text]'") from error
        if not Path(self.path).is_file():
            raise InputError(f"cannot read {self.path}: no such file.")
        try:
            return Tokenizer.from_file(self.path)
        except Exception as error:  # the library raises nothing more special
            raise InputError(f"{self.path} holds no tokenizer: {error}") from error

    @property
    def end(self) -> int:
        """One more than the largest of its numbers."""
        return int(max(self._read.get_vocab(with_added_tokens=True).values())) + 1

    @property
    def fingerprint(self) -> str:
        """Hash of what the file holds."""
        return hashlib.sha256(Path(self.path).read_bytes()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, without those that the tokenizer would add around it."""
        return [list(each.ids) for each in self._read.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text."""
        return str(self._read.decode([int(token) for token in tokens if token < self.end]))


def tokenizer_named(name: str) -> TextTokenizer:
    """``bytes``, or the path of a tokenizer's file.

    >>> tokenizer_named("bytes").end
    256
    """
    if name == "bytes":
        return Bytes()
    if not name.endswith(".json"):
        raise InputError(f"tokenizer must be 'bytes' or the path of a tokenizer.json, got {name!r}.")
    return TokenizerFile(name)
