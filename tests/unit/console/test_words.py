"""Both languages say everything, nothing is left over, and both name the same values."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter

import pytest

from amtsbote.deliveries import DropState
from amtsbote.lifecycle import Shelf, State
from amtsbote.operations.documents import Direction
from amtsbote.operations.sentences import said
from amtsbote.portals import NAMES
from amtsbote.reconciliation import Kind as Difference
from console.pages import THEMES, preferred
from console.reasons import REASONS
from console.sentences import GERMAN
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
CODES = set(re.findall(r'"([A-Z][A-Z0-9_]+)"', "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))))

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


def judged() -> Iterator[str]:
    """Yield the codes with which functions say of a document or a drop why it is as it is."""
    kinds = {"Reject", "Retry", "Quarantine", "Unavailable", "Misconfigured", "Failure", "ConnectionOff"}
    for path in (PACKAGE / "amtsbote").rglob("*.py"):
        if path.name != "rotate.py" and path.parent.name not in ("admin", "cli", "operations"):
            for call in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in kinds:
                    yield from (str(each.value) for each in call.args[:1] if isinstance(each, ast.Constant))


def test_whatever_may_be_wrong_with_a_document_is_said_in_words() -> None:
    of_rotation = {"SECRET_MISSING", "VERSION_TAKEN"}
    codes = {code for code in judged() if not code.startswith(("ROTATION_", "TECHNICAL_ACCESS_D", "NOT_ROTATABLE"))}
    assert len(codes) > 120
    assert sorted(codes - of_rotation - REASONS.keys()) == []


def test_a_code_without_words_has_none() -> None:
    assert Words("de").known("reason.NO_SUCH_CODE") is None


# --- the operations' own sentences -----------------------------------------------------------------------------------

SPEAKERS = [*(PACKAGE / "amtsbote" / "operations").glob("*.py"), *CONSOLE.rglob("*.py")]


def patterns() -> Iterator[str]:
    """Yield what `said` is called with: a text, one of two, or the name of a constant text."""
    for path in SPEAKERS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = [
            (target.id, text)
            for each in ast.walk(tree)
            if isinstance(each, ast.Assign) and isinstance(target := each.targets[0], ast.Name)
            for text in literals(each.value)
        ]
        for call in (each for each in ast.walk(tree) if isinstance(each, ast.Call) and called(each) == "said"):
            names = {each.id for each in ast.walk(call.args[0]) if isinstance(each, ast.Name)}
            found = [*literals(call.args[0]), *(text for name, text in texts if name in names)]
            assert found, f"{path.name}:{call.lineno}"
            yield from found


def called(call: ast.Call) -> str | None:
    return call.func.id if isinstance(call.func, ast.Name) else None


def literals(node: ast.expr) -> list[str]:
    chosen = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    return [each.value for each in chosen if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def fields(text: str) -> set[str]:
    return {name for _, name, *_ in Formatter().parse(text) if name}


def test_every_sentence_of_the_operations_is_said_in_german_too() -> None:
    assert len(set(patterns())) > 40
    assert set(patterns()) - GERMAN.keys() == set()


def test_no_german_sentence_is_left_over() -> None:
    assert GERMAN.keys() - set(patterns()) == set()


@pytest.mark.parametrize("english", GERMAN)
def test_a_german_sentence_names_the_same_values(english: str) -> None:
    assert GERMAN[english].strip()
    assert fields(GERMAN[english]) == fields(english)


def test_no_operation_says_a_sentence_that_cannot_be_translated() -> None:
    """What a person reads before or after an action is made by `said`."""
    for path in SPEAKERS:
        for call in (each for each in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(each, ast.Call)):
            told = {"Intent": call.args[:1], "Reject": call.args[1:2], "Retry": call.args[1:2]}.get(
                called(call) or "", []
            )
            for text in told:
                assert not isinstance(text, ast.JoinedStr | ast.Constant), f"{path.name}:{call.lineno}"


def test_a_sentence_is_said_with_its_values_and_the_sentences_among_them() -> None:
    at = datetime(2026, 2, 17, 9, 30, tzinfo=UTC)
    due = said(
        "{name} is {state} and due by itself at {at:%Y-%m-%d %H:%M} UTC; there is nothing to fetch again",
        name="duba/klinikum/{214}",
        state=State.DISCOVERED,
        at=at,
    )
    assert due.startswith("duba/klinikum/{214} is DISCOVERED and due by itself at 2026-02-17 09:30 UTC")
    german = Words("de").spoken(due)
    assert german.startswith("duba/klinikum/{214} hat den Stand „Entdeckt“ und ist um 09:30 UTC am 17.02.2026")
    assert Words("en").spoken(due) == due
    nested = said(
        "nothing was stored: {why}", why=said("the login works, and the portal lists {count} documents", count=3)
    )
    assert Words("de").spoken(nested) == (
        "nichts wurde gespeichert: die Anmeldung gelingt, und das Portal führt 3 Dokumente auf"
    )


def test_a_text_that_is_no_sentence_stays_english_and_is_called_so() -> None:
    assert (Words("de").spoken("the portal is down"), Words("de").tongue("the portal is down")) == (
        "the portal is down",
        "en",
    )
    assert Words("de").tongue(said("there is no such action")) == "de"
    assert Words("en").tongue(said("there is no such action")) == "en"
