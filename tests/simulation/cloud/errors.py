"""Errors as boto3 clients raise them: a ClientError that carries the service's code, of a class of its own per code."""

from functools import cache
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

BAD_REQUEST = 400
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405
PRECONDITION_FAILED = 412
RANGE_NOT_SATISFIABLE = 416


@cache
def kind(code: str) -> type[ClientError]:
    """Return the class of the errors with this code; the same at each call, so that it can be caught."""
    return type(code, (ClientError,), {})


def refused(operation: str, code: str, message: str = "", status: int = BAD_REQUEST) -> ClientError:
    """Return the error that an operation (`PutObject`) answers; `code` is AWS's, `status` that of HTTP."""
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return kind(code)(answer, operation)


def unsendable(report: str) -> ParamValidationError:
    """Return the error of a request that botocore would not even send."""
    return ParamValidationError(report=report)


class Exceptions:
    """What `client.exceptions` is: the classes of the errors that a service names."""

    def __init__(self, *codes: str) -> None:
        self._codes = frozenset(codes)

    def __getattr__(self, name: str) -> type[ClientError]:
        if name.startswith("_") or name not in self._codes:
            raise AttributeError(name)
        return kind(name)
