"""What a document is called in a list: by what people know it by, and never twice by the same."""

from typing import Any

import pytest

from console.headlines import headline
from console.pages import age_in_words, shown_name, size
from console.words import Words
from tests.unit.support import NOW, later


@pytest.mark.parametrize(
    ("record", "files", "said"),
    [
        ({"aktenzeichen": "12 XVII 214/26", "id": 214}, ["message-214.zip"], "12 XVII 214/26 · message-214.zip"),
        ({"fileName": "a\u202eb.pdf"}, ["ab.pdf"], "a\u202eb.pdf"),
        ({"data": [{"filename": "Søknad.pdf"}, {"filename": "Søknad.pdf"}]}, ["instance.json"], "Søknad.pdf"),
        ({"data": [{"filename": f"{number}.pdf"} for number in range(9)]}, [], "0.pdf · 1.pdf"),
        ({"documentId": 7}, ["form.json", "Ausweis.pdf"], "Ausweis.pdf"),
        ({"documentId": 7}, ["form.json"], ""),
        ({"aktenzeichen": 7, "fileName": " "}, [], ""),
        (None, [], ""),
        ([], [], ""),
    ],
)
def test_a_document_is_called_by_what_people_know_it_by(record: Any, files: list[str], said: str) -> None:
    assert headline(record, files) == said


def test_of_a_long_name_the_beginning_and_the_end_are_shown() -> None:
    shown = shown_name("a" * 300 + "end.pdf", 100)
    assert shown.startswith("<bdi>aaa")
    assert shown.endswith("end.pdf</bdi>")
    assert len(shown) < 130
    assert shown_name("a" * 100, 100) == f"<bdi>{'a' * 100}</bdi>"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (48_213, "48.2 kB"), (3 * 10**9, "3.0 GB"), (10**16, "10000.0 TB")],
)
def test_sizes_are_said_in_the_unit_that_fits(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        ({"seconds": 30}, "less than a minute"),
        ({"minutes": 1}, "1 minute"),
        ({"hours": 23}, "23 hours"),
        ({"days": 12}, "12 days"),
    ],
)
def test_ages_are_said_in_words(delta: dict[str, float], said: str) -> None:
    assert age_in_words(later(**delta) - NOW, Words("en")) == said
