"""The versions of one secret in Secrets Manager: described, read, stored, labelled."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from amtsbote.errors import Misconfigured, Retry
from amtsbote.rotation import CURRENT, Versions

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

NOT_FOUND = "ResourceNotFoundException"
TAKEN = "ResourceExistsException"
Result = TypeVar("Result")


class VersionTaken(Misconfigured):
    """The version has another value already, and versions do not change."""


class SecretVersions:
    """One secret, by its name or ARN. Retry where Secrets Manager does not do what it is asked; never a value in it."""

    def __init__(self, client: "SecretsManagerClient", secret_id: str) -> None:
        self._client = client
        self._id = secret_id

    def describe(self) -> Versions:
        """Return the secret's versions and their labels; Misconfigured where there is no such secret."""
        try:
            said = self._asked(lambda: self._client.describe_secret(SecretId=self._id))
        except ClientError:
            raise self._missing() from None
        labels = {version: frozenset(names) for version, names in said.get("VersionIdsToStages", {}).items()}
        return Versions(said["Name"], labels, bool(said.get("RotationEnabled")), said.get("LastChangedDate"))

    def text(self, version: str | None = None) -> str | None:
        """Return the value of a version, of the current one by default; None where it has none."""
        which: dict[str, Any] = {"VersionStage": CURRENT} if version is None else {"VersionId": version}
        try:
            return self._asked(lambda: self._client.get_secret_value(SecretId=self._id, **which)).get("SecretString")
        except ClientError:
            return None

    def current(self) -> str:
        """Return the current value; Misconfigured where there is no such secret."""
        text = self.text()
        if text is None:
            raise self._missing()
        return text

    def put(self, text: str, labels: Collection[str], *, version: str | None = None, token: str | None = None) -> None:
        """Store a value as a version (None: a new one) with these labels; VersionTaken where it has another value.

        `token` is the rotation token, which Secrets Manager may hand out with a step. A repeat is harmless.
        """
        more: dict[str, Any] = {"ClientRequestToken": version} if version else {}
        if token:
            more["RotationToken"] = token
        try:
            self._asked(
                lambda: self._client.put_secret_value(
                    SecretId=self._id, SecretString=text, VersionStages=sorted(labels), **more
                )
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == NOT_FOUND:
                raise self._missing() from None
            raise VersionTaken("VERSION_TAKEN", f"the version of this rotation of {self._id} has a value") from None

    def label(self, label: str, *, to: str | None = None, away_from: str | None = None) -> None:
        """Put a label on a version, take it away from one, or move it."""
        ends = {"MoveToVersionId": to, "RemoveFromVersionId": away_from}
        given: dict[str, Any] = {name: version for name, version in ends.items() if version is not None}
        try:
            self._asked(
                lambda: self._client.update_secret_version_stage(SecretId=self._id, VersionStage=label, **given)
            )
        except ClientError:
            raise self._missing() from None

    def _missing(self) -> Misconfigured:
        return Misconfigured("SECRET_MISSING", f"there is no secret {self._id}, or it is being deleted; create it")

    def _asked(self, ask: Callable[[], Result]) -> Result:
        """Return an answer; ClientError only where something is not there, or is there already."""
        try:
            return ask()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in (NOT_FOUND, TAKEN):
                raise
            raise self._unreachable(code) from None
        except BotoCoreError as error:
            raise self._unreachable(type(error).__name__) from None

    def _unreachable(self, code: str) -> Retry:
        return Retry("SECRETS_UNREACHABLE", f"Secrets Manager did not serve the secret {self._id}: {code}")
