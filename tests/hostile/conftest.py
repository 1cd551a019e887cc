"""Fixtures of the hostile tests: the same AWS in this process as the flow tests have."""

from tests.flows.conftest import aws, clock, log_lines, short_pauses

__all__ = ["aws", "clock", "log_lines", "short_pauses"]
