"""The administrator's account: from Secrets Manager, from a file or from the environment, never from an argument."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field

from amtsbote.connections import validated
from amtsbote.errors import Misconfigured, Reject, Retry
from amtsbote.keys import CONNECTION_NAME, administrator_secret
from amtsbote.portals.docxworld.rotation import AdministratorSecret

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

ENVIRONMENT: Mapping[str, str] = {
    "AMTSBOTE_DOCXWORLD_COGNITO_URL": "cognitoUrl",
    "AMTSBOTE_DOCXWORLD_CLIENT_ID": "clientId",
    "AMTSBOTE_DOCXWORLD_USERNAME": "username",
    "AMTSBOTE_DOCXWORLD_PASSWORD": "password",
}
"""The variables that hold the login where only `--base-url` is given, and the fields of `auth` that they stand for."""

READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class AdministratorAccount(AdministratorSecret):
    """The body of `amtsbote-admin/docxworld/<connection>`, here also without a technical access."""

    technical_access_id: str = Field(default="")


class Vault:
    """Secrets Manager with its failures as the package's errors."""

    def __init__(self, client: "SecretsManagerClient") -> None:
        self._client = client

    def read(self, name: str) -> str | None:
        """Return a secret's text, None where there is no such secret."""
        try:
            return self._client.get_secret_value(SecretId=name).get("SecretString", "")
        except self._client.exceptions.ResourceNotFoundException:
            return None
        except (ClientError, BotoCoreError) as error:
            raise _failure(name, "read", error) from None

    def write(self, name: str, text: str) -> None:
        """Give a secret a new text, or create it."""
        try:
            if self.read(name) is None:
                self._client.create_secret(Name=name, SecretString=text)
            else:
                self._client.put_secret_value(SecretId=name, SecretString=text)
        except (ClientError, BotoCoreError) as error:
            raise _failure(name, "written", error) from None


def _failure(name: str, what: str, error: Exception) -> Retry:
    reason = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
    mend = "check --profile, --region, --endpoint-url and the permissions"
    return Retry("SECRETS_UNREACHABLE", f"the secret {name} could not be {what}: {reason}; {mend}")


def vault_of(profile: str | None, region: str | None, endpoint_url: str | None) -> Vault:
    """Return Secrets Manager of an AWS account; Misconfigured where boto3 does not know it."""
    import boto3  # slow to load, and not needed with a file

    try:
        session = boto3.Session(profile_name=profile, region_name=region)
        return Vault(session.client("secretsmanager", endpoint_url=endpoint_url))
    except (BotoCoreError, ValueError) as error:
        raise Misconfigured("AWS_INVALID", f"{error}; check --profile, --region and --endpoint-url") from None


def account_in_vault(connection: str, vault: Vault) -> AdministratorAccount:
    """Return the administrator of a connection."""
    if not CONNECTION_NAME.fullmatch(connection):
        raise Reject("WRONG_CONNECTION", "a connection's name is made of a-z, 0-9 and -, at most 40 of them")
    name = administrator_secret("docxworld", connection)
    body = vault.read(name)
    if body is None:
        raise Misconfigured("UNKNOWN_CONNECTION", f"there is no secret {name}; create it")
    return _account(name, body)


def account_in_file(path: Path) -> AdministratorAccount:
    """Return the account in a JSON file of the same form as the secret; only its owner may be able to read it."""
    try:
        if path.stat().st_mode & READABLE_BY_OTHERS:
            raise Misconfigured("FILE_NOT_PRIVATE", f"{path} holds a password and others may read it; chmod 600 {path}")
        body = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Reject("FILE_UNREADABLE", f"{path} cannot be read: {type(error).__name__}") from None
    return _account(str(path), body)


def account_in_environment(base_url: str, environment: Mapping[str, str] = os.environ) -> AdministratorAccount:
    """Return the account whose login is in the environment (`ENVIRONMENT`)."""
    missing = [name for name in ENVIRONMENT if not environment.get(name)]
    if missing:
        raise Misconfigured("ENVIRONMENT_INCOMPLETE", f"--base-url needs {', '.join(missing)} in the environment")
    auth = {"kind": "user-password", **{field: environment[name] for name, field in ENVIRONMENT.items()}}
    return _account("environment", json.dumps({"baseUrl": base_url, "auth": auth}))


def _account(where: str, body: str) -> AdministratorAccount:
    account: AdministratorAccount = validated(AdministratorAccount, where, body)
    return account
