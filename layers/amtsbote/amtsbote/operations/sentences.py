"""Sentences for people: English, and remembering what they were made of, so that they can be said otherwise too."""

from collections.abc import Mapping
from types import MappingProxyType


class Sentence(str):
    """A text in English. `pattern` and `values` are what it was made of; a value may be a sentence itself."""

    __slots__ = ("pattern", "values")
    pattern: str
    values: Mapping[str, object]


def said(pattern: str, /, **values: object) -> Sentence:
    """Return the sentence that a pattern, in the manner of `str.format`, makes of the values."""
    sentence = Sentence(pattern.format(**values))
    sentence.pattern, sentence.values = pattern, MappingProxyType(values)
    return sentence
