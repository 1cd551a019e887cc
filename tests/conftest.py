"""In which order tests run."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those that wait for minutes, so that the others run meanwhile and nobody waits for them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("once") is None)
