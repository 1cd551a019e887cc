"""What people know a document by: its case number and its files' names, from the portal's own record of it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from amtsbote.batches import side_by_side
from amtsbote.keys import item_prefix
from amtsbote.lifecycle import SUBJECTS, Subject
from amtsbote.operations.documents import READERS, Direction, Document
from amtsbote.operations.office import Office

TOLD_BY = (Subject.CASE, Subject.FILE)
AT_MOST = 2  # of each; a form may have dozens of files
SEPARATOR = " · "
OUR_NAMES = frozenset({"form.json", "instance.json"})  # every document of its portal has one


def headlines(office: Office, documents: Sequence[Document]) -> list[str]:
    """Return what each document of a page is called; one small read each, at most two."""
    return side_by_side(lambda document: headline_of(office, document), documents, READERS)


def headline_of(office: Office, document: Document) -> str:
    """Return what a document is called: case number and file names, else its id; of a delivery its file's name."""
    if document.direction is Direction.OUT:
        return document.id.rpartition("/")[2]
    return _headline_in_inbox(office, document) or document.id


def headline(record: Any, files: Sequence[str] = ()) -> str:
    """Return what a portal's record calls its document, empty where it says nothing that people know it by.

    `files` are the names in the inbox, for a record that names no file.
    """
    said = list(_said(record))
    cases, named = ([text for subject, text in said if subject is wanted] for wanted in TOLD_BY)
    own = named or [name for name in files if name not in OUR_NAMES]
    return SEPARATOR.join(dict.fromkeys((*cases[:AT_MOST], *own[:AT_MOST])))


def _headline_in_inbox(office: Office, document: Document) -> str:
    said = office.inbox.document(item_prefix(document.portal, document.connection, document.id))
    if said is not None:
        return headline(said["metadata"], [each["name"] for each in said["files"]])
    row = office.ledger.item(document.portal, document.connection, document.id)
    return headline(json.loads(row.record or "null")) if row else ""


def _said(value: Any) -> Iterator[tuple[Subject, str]]:
    """Yield what the fields of SUBJECTS hold, however deep."""
    if isinstance(value, list):
        for entry in value:
            yield from _said(entry)
    elif isinstance(value, dict):
        for name, entry in value.items():
            subject = SUBJECTS.get(name.casefold())
            if subject is not None and isinstance(entry, str) and entry.strip() not in ("", *OUR_NAMES):
                yield subject, entry.strip()
            yield from _said(entry)
