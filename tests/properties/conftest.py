"""How many examples the properties are tried with, and that they are the same at each run.

More of them, new ones at each run: .venv/bin/python -m pytest tests/properties --hypothesis-profile=thorough
"""

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

EXAMPLES = 80
MANY_EXAMPLES = 2_000
UNHURRIED = [HealthCheck.too_slow]  # a machine that is busy with other tests finds no fault with the examples

settings.register_profile(
    "properties", deadline=None, derandomize=True, max_examples=EXAMPLES, suppress_health_check=UNHURRIED
)
settings.register_profile(
    "thorough", deadline=None, derandomize=False, max_examples=MANY_EXAMPLES, suppress_health_check=UNHURRIED
)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Read this folder's modules under its profile, and leave the profile of all others as it was."""
    before = settings.get_current_profile_name()
    settings.load_profile(collector.config.getoption("--hypothesis-profile") or "properties")
    try:
        return (yield)
    finally:
        settings.load_profile(before)
