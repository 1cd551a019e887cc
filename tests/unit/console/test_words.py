"""Both languages say everything, nothing is left over, and both name the same values."""

import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from amtsbote.deliveries import DropState
from amtsbote.lifecycle import Shelf, State
from amtsbote.operations.documents import Direction
from amtsbote.portals import NAMES
from amtsbote.reconciliation import Kind as Difference
from console.pages import THEMES, preferred
from console.views.actions import ACTIONS
from console.views.documents import DECISIONS
from console.views.overview import URGENCY
from console.views.search import FIELDS, GROUPS
from console.words import CATALOGUE, DEFAULT_LANGUAGE, LANGUAGES, Words

CONSOLE = Path(__file__).parents[3] / "console"
PACKAGE = CONSOLE.parent / "layers" / "amtsbote"
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for path in [*CONSOLE.rglob("*.py"), *CONSOLE.rglob("*.html")]
    if path.name != "words.py"
}
CODES = set(re.findall(r'"([A-Z][A-Z_]+)"', "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))))

NAMED: dict[str, set[str]] = {
    "portal.": {*NAMES, ""},
    "state.": {*State, *DropState, *GROUPS, *(f"{state}.says" for state in (*State, *DropState))},
    "shelf.": set(Shelf),
    "direction.": set(Direction),
    "condition.": set(URGENCY),
    "difference.": set(Difference),
    "theme.": set(THEMES),
    "search.within.": set(FIELDS),
    "receipt.": {"IN_PROGRESS", "DELIVERED", "FAILED"},
    "action.": {*ACTIONS, *(f"{name}.explain" for name in ACTIONS)}
    | {f"{name}.done" for name in ACTIONS if name not in ("test", "redrive")},
    "age.": {f"{unit}{one}" for unit in ("days", "hours", "minutes") for one in ("", ".one")},
}
"""Keys that are put together: what they begin with, and every name that follows there."""
SOME = {
    "reason.": CODES,
    "step.": CODES | {"APPROVED", "REJECTED", "SCHEDULED"},
    "refused.": {"FORM_OUTDATED", "AWS_REFUSED"},
}
"""Keys of which only some names have words; without words the name itself is shown."""


def written() -> set[str]:
    """Return the keys that stand in the sources as they are."""
    keys = "|".join(sorted(map(re.escape, CATALOGUE), key=len, reverse=True))
    return {found for text in SOURCES.values() for found in re.findall(rf"""["']({keys})["']""", text)}


def asked_for() -> Iterator[str]:
    """Yield the keys that the sources ask for as they stand."""
    for text in SOURCES.values():
        yield from re.findall(r"""(?<![\w.])(?:t|words)\(["']([a-z_.A-Z-]+)["']\s*[,)]""", text)


def test_every_key_that_is_asked_for_is_there() -> None:
    assert len(set(asked_for())) > 50
    assert [key for key in asked_for() if key not in CATALOGUE] == []


@pytest.mark.parametrize("begin", NAMED)
def test_every_name_that_the_package_has_is_there(begin: str) -> None:
    assert {f"{begin}{name}" for name in NAMED[begin]} - CATALOGUE.keys() == set()


def test_no_key_is_left_over() -> None:
    named = {f"{begin}{name}" for begin, names in {**NAMED, **SOME}.items() for name in names}
    assert CATALOGUE.keys() - named - written() == set()


@pytest.mark.parametrize("key", CATALOGUE)
def test_both_languages_say_it_and_name_the_same_values(key: str) -> None:
    texts = CATALOGUE[key]
    assert len(texts) == len(LANGUAGES)
    assert all(text.strip() for text in texts)
    german, english = ({name for _, name, *_ in Formatter().parse(text) if name} for text in texts)
    assert german == english


def test_what_may_be_decided_is_an_action() -> None:
    assert {action for actions in DECISIONS.values() for action in actions} <= ACTIONS.keys()


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-DE,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,en;q=0.9", "en"),
        ("fr,en;q=0.5,de;q=0.4", "en"),
        ("en;q=0,de;q=0.1", "de"),
        ("nb", DEFAULT_LANGUAGE),
        ("", DEFAULT_LANGUAGE),
        ("en;q=nonsense", DEFAULT_LANGUAGE),
    ],
)
def test_the_language_is_the_one_that_the_browser_asks_for(accepted: str, language: str) -> None:
    assert preferred(accepted) == language


def test_a_code_without_words_has_none() -> None:
    assert Words("de").known("reason.NO_SUCH_CODE") is None
