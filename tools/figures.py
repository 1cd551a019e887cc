"""Print the figures of the house style, and fail when one of them is out of bounds.

Functions are measured in lines of code between `def` and end, docstring, comments and blank lines left out.
"""

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("functions", "layers")
HELPERS = ("sandbox", "tools")
TESTS = ("tests",)

LONGEST_LINES = 60
P90_LINES = 20
PERCENTILE = 0.9

NO_CODE = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Function:
    """One function: where it is, how long, and whether every parameter and the result are annotated."""

    place: str
    lines: int
    annotated: bool


def sources(folders: Iterable[str], root: Path = ROOT) -> Iterator[Path]:
    """The Python files under these folders of the repository."""
    for folder in folders:
        yield from sorted((root / folder).rglob("*.py"))


def code_lines(text: str) -> frozenset[int]:
    """The numbers of the lines that hold code: no comment, no docstring, nothing blank."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        number for token in tokens if token.type not in NO_CODE for number in range(token.start[0], token.end[0] + 1)
    }
    return frozenset(lines - docstring_lines(ast.parse(text)))


def docstring_lines(tree: ast.Module) -> set[int]:
    """The numbers of the lines of every string that stands alone as a statement."""
    return {
        number
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def functions(path: Path, text: str) -> Iterator[Function]:
    """Every function and method of a file."""
    code = code_lines(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTION):
            body = range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
            yield Function(f"{path}:{node.lineno} {node.name}", len(code.intersection(body)), is_annotated(node))


def is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether everything but self and cls has a type."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
    return node.returns is not None and all(
        argument.annotation or argument.arg in {"self", "cls"} for argument in arguments
    )


def p90(lengths: list[int]) -> int:
    """The length that nine of ten functions do not exceed."""
    return sorted(lengths)[max(0, round(PERCENTILE * len(lengths)) - 1)]


def problems(found: list[Function]) -> Iterator[str]:
    """What is out of bounds, one sentence each."""
    yield from (f"{each.place} has {each.lines} lines" for each in found if each.lines > LONGEST_LINES)
    yield from (f"{each.place} is not fully annotated" for each in found if not each.annotated)
    if found and p90([each.lines for each in found]) > P90_LINES:
        yield f"one function in ten is longer than {P90_LINES} lines"


def report(name: str, found: list[Function]) -> str:
    """The line of figures for one part of the code."""
    lengths = [each.lines for each in found]
    annotated = sum(each.annotated for each in found) / len(found)
    return (
        f"{name:<20} {len(found):>5} functions, lines: median {statistics.median(lengths):g}, p90 {p90(lengths)}, "
        f"longest {max(lengths)}; annotated {annotated:.0%}"
    )


def size(folders: Iterable[str]) -> int:
    """Lines of code in these folders."""
    return sum(len(code_lines(path.read_text())) for path in sources(folders))


def measured(folders: Iterable[str]) -> list[Function]:
    """Every function in these folders."""
    return [each for path in sources(folders) for each in functions(path.relative_to(ROOT), path.read_text())]


def main() -> int:
    """Print the figures; 1 when something is out of bounds."""
    wrong: list[str] = []
    for name, folders in (("functions, layers", PRODUCT), ("sandbox, tools", HELPERS)):
        found = measured(folders)
        wrong += problems(found)
        print(report(name, found))
    code, tests = size(PRODUCT), size(TESTS)
    print(f"{'tests : code':<20} {tests} : {code} = {tests / code:.2f}")
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
