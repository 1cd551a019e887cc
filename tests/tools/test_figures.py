"""The script that measures the house style, measured."""

from pathlib import Path

from tools.figures import Function, functions, p90, problems

SOURCE = '''
def short(self, a: int) -> int:
    """A docstring of
    two lines."""
    # why
    return (
        a
    )


class Thing:
    async def loose(self, a, *rest: int) -> None:

        pass
'''


def test_lines_of_code_leave_out_docstring_comment_and_blank_lines() -> None:
    found = {each.place.rpartition(" ")[2]: each.lines for each in functions(Path("a.py"), SOURCE)}
    assert found == {"short": 3, "loose": 1}


def test_a_parameter_without_a_type_is_seen_and_self_needs_none() -> None:
    found = {each.place.rpartition(" ")[2]: each.annotated for each in functions(Path("a.py"), SOURCE)}
    assert found == {"short": True, "loose": False}


def test_the_p90_is_not_moved_by_one_long_function_in_ten() -> None:
    assert p90([1] * 9 + [50]) == 1
    assert p90([1] * 8 + [50, 50]) == 50


def test_code_within_bounds_has_no_problem() -> None:
    assert list(problems([Function("a.py:1 f", 20, annotated=True)])) == []


def test_each_bound_is_a_problem_of_its_own() -> None:
    found = [Function("a.py:1 long", 61, annotated=True), Function("a.py:2 loose", 1, annotated=False)]
    assert list(problems(found)) == [
        "a.py:1 long has 61 lines",
        "a.py:2 loose is not fully annotated",
        "one function in ten is longer than 20 lines",
    ]
