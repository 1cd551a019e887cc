"""Run the comparisons, print the table, write `results.md` and the pictures.

python -m benchmarks [--only NAME …] [--runs N] [--quick] [--write FOLDER]
"""

import argparse
import importlib
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast

from pydantic import TypeAdapter

from benchmarks.measured import Comparison, Measured, Options
from benchmarks.pictures import picture
from benchmarks.table import markdown, print_table

FOLDER = Path(__file__).parent
FIGURES = TypeAdapter(dict[str, Measured])
MODULES = (
    "duba_inbound",
    "upload_rate",
    "first_invocation",
    "requests_per_document",
    "idle_poll",
    "many_connections",
)


class Row(Protocol):
    """What the module of a comparison holds."""

    NAME: str
    run: Comparison


def row(module: str) -> Row:
    """Return a comparison by the name of its module."""
    return cast(Row, importlib.import_module(f"benchmarks.{module}"))


def measure(module: str, options: Options) -> Measured:
    """Run a comparison and tell how long it took."""
    began = time.monotonic()
    print(f"{module} …", flush=True)
    measured = row(module).run(options)
    print(f"{module}: {time.monotonic() - began:.0f} s", flush=True)
    return measured


def write(measured: list[Measured], options: Options, folder: Path) -> None:
    """Write the page and the pictures; what was not measured now is taken from the last time."""
    kept = folder / "figures.json"
    known = FIGURES.validate_json(kept.read_bytes()) if kept.exists() else {}
    known |= {each.name: each for each in measured}
    ordered = [known[name] for name in (row(module).NAME for module in MODULES) if name in known]
    (folder / "results.md").write_text(markdown(ordered, options, datetime.now(UTC).date()), encoding="utf-8")
    for each in measured:
        (folder / f"{each.name}.svg").write_text(picture(each), encoding="utf-8")
    kept.write_bytes(FIGURES.dump_json(known, indent=1))


def main() -> int:
    """Read the arguments; 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=MODULES, default=list(MODULES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes, for trying it out; nothing is written")
    parser.add_argument("--write", type=Path, default=None, help="where to write; this folder unless --quick")
    given = parser.parse_args()
    logging.disable(logging.ERROR)  # the portals tell of each line that breaks
    options = Options(runs=given.runs, quick=given.quick)
    measured = []
    for module in given.only:
        measured.append(measure(module, options))
        if given.write or not given.quick:
            write(measured[-1:], options, given.write or FOLDER)
    print_table(measured)
    return 0 if all(each.kept for each in measured) else 1


if __name__ == "__main__":
    raise SystemExit(main())
