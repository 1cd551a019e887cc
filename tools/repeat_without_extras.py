"""Repeat each `name[extra]==version` of a lock file as `name==version`: repeat_without_extras.py REQUIREMENTS.

pip before 24 takes a pinned name with extras for unpinned where another package asks for the name alone.
"""

import re
import sys
from pathlib import Path

ENTRY = re.compile(r"^(?P<name>[\w.-]+)\[[^\]]*\](?P<rest>==.*?\n)(?=\S|\Z)", re.MULTILINE | re.DOTALL)


def repeated(locked: str) -> str:
    """The lock file's text with every entry that has extras once more without them."""
    return ENTRY.sub(lambda entry: f"{entry[0]}{entry['name']}{entry['rest']}", locked)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(repeated(path.read_text()))
