"""Secrets Manager in memory: secrets with versions and the labels of their stages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from tests.simulation.cloud.client import PAGE_SIZE, Answer, Client, Clock, Pages, in_pages
from tests.simulation.cloud.errors import Exceptions, refused, unsendable

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
TOKEN_LENGTHS = range(32, 65)
RECOVERY_DAYS = 30
MOST_AT_ONCE = 20
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
MISSING, INVALID, EXISTS = "ResourceNotFoundException", "InvalidRequestException", "ResourceExistsException"
PARAMETER = "InvalidParameterException"
CODES = (MISSING, INVALID, EXISTS, PARAMETER)


@dataclass
class SecretVersion:
    """One version of a secret; without a value when a rotation has begun it and not filled it yet."""

    id: str
    value: str | None
    created_at: datetime
    stages: set[str] = field(default_factory=set)


@dataclass
class Secret:
    """A secret; `deleted_at` once it is marked for deletion."""

    arn: str
    name: str
    created_at: datetime
    changed_at: datetime
    versions: dict[str, SecretVersion] = field(default_factory=dict)
    rotates: bool = False
    deleted_at: datetime | None = None

    def staged(self, stage: str) -> SecretVersion | None:
        """Return the version that carries a label."""
        return next((version for version in self.versions.values() if stage in version.stages), None)

    def label(self, stage: str, version: SecretVersion) -> None:
        """Move a label to a version. Where AWSCURRENT leaves one, that is AWSPREVIOUS from then on."""
        former = self.staged(stage)
        if former is version:
            return
        if former is not None:
            former.stages.remove(stage)
            if stage == CURRENT:
                self.label(PREVIOUS, former)
        version.stages.add(stage)


class InMemorySecretsManager(Client):
    """A stand-in for the Secrets Manager client. A secret is found by its name or its ARN."""

    exceptions = Exceptions(*CODES)

    def __init__(self, clock: Clock, *, page_size: int = PAGE_SIZE) -> None:
        super().__init__(clock)
        self._page_size = page_size
        self._secrets: dict[str, Secret] = {}

    # --- what Secrets Manager itself does in a rotation ---

    def begin_rotation(self, secret_id: str, token: str) -> None:
        """Do what Secrets Manager does before it calls a rotation function: an empty version awaits the new value."""
        secret = self._usable("RotateSecret", secret_id)
        secret.rotates = True
        version = secret.versions.setdefault(token, SecretVersion(token, None, self.clock()))
        if version.value is None:
            secret.label(PENDING, version)

    # --- a secret ---

    def create_secret(self, *, Name: str, SecretString: str) -> Answer:
        """Create a secret with its first version."""
        found = self._secrets.get(Name)
        if found is not None:
            raise _taken(found)
        now, arn = self.clock(), f"{ARN}{Name}-{self._next_number():06d}"
        self._secrets[Name] = secret = Secret(arn, Name, now, now)
        version = self._added(secret, self._new_id(), SecretString, [CURRENT])
        return {"ARN": arn, "Name": Name, "VersionId": version.id}

    def put_secret_value(
        self,
        *,
        SecretId: str,
        SecretString: str,
        ClientRequestToken: str | None = None,
        VersionStages: Sequence[str] | None = None,
    ) -> Answer:
        """Add a version, AWSCURRENT unless other labels are given. The token is its id, and makes a repeat harmless."""
        token = self._new_id() if ClientRequestToken is None else _checked_id(ClientRequestToken)
        if VersionStages is not None and not VersionStages:
            raise unsendable("Invalid length for parameter VersionStages, value: 0, valid min length: 1")
        secret = self._usable("PutSecretValue", SecretId)
        version = secret.versions.get(token)
        if version is None or version.value is None:
            version = self._added(secret, token, SecretString, VersionStages or [CURRENT])
        elif version.value != SecretString:
            raise refused("PutSecretValue", EXISTS, "You can't modify the value of a version that already exists")
        return _named(secret) | {"VersionId": version.id, "VersionStages": sorted(version.stages)}

    def get_secret_value(
        self, *, SecretId: str, VersionId: str | None = None, VersionStage: str | None = None
    ) -> Answer:
        """Return a version's value: the current one's, that of an id, or that of a label (or of both, which agree)."""
        operation = "GetSecretValue"
        if VersionId is not None:
            _checked_id(VersionId)
        secret = self._usable(operation, SecretId)
        version = secret.versions.get(VersionId) if VersionId else secret.staged(VersionStage or CURRENT)
        if version is None or version.value is None:
            raise _missing(operation, "the specified secret value")
        if VersionStage is not None and VersionStage not in version.stages:
            raise refused(operation, INVALID, "The VersionStage is not associated to the provided VersionId")
        return _named(secret) | {
            "VersionId": version.id,
            "SecretString": version.value,
            "VersionStages": sorted(version.stages),
            "CreatedDate": version.created_at,
        }

    def batch_get_secret_value(self, *, SecretIdList: Sequence[str]) -> Answer:
        """Return the current values of up to 20 secrets, in no order that could be relied on, and what has none."""
        if not 1 <= len(SecretIdList) <= MOST_AT_ONCE:
            raise refused("BatchGetSecretValue", PARAMETER, "The list of secrets is too short or too long")
        values, errors = [], []
        for secret_id in reversed(SecretIdList):
            try:
                values.append(self.get_secret_value(SecretId=secret_id))
            except ClientError as error:
                said = error.response["Error"]
                errors.append({"SecretId": secret_id, "ErrorCode": said["Code"], "Message": said["Message"]})
        return {"SecretValues": values, "Errors": errors}

    def describe_secret(self, *, SecretId: str) -> Answer:
        """Return what is known of a secret, also of one that is marked for deletion; versions without label are not."""
        secret = self._found("DescribeSecret", SecretId)
        stages = {version.id: sorted(version.stages) for version in secret.versions.values() if version.stages}
        answer = _described(secret) | {"VersionIdsToStages": stages}
        return answer | ({"RotationEnabled": True} if secret.rotates else {})

    def update_secret_version_stage(
        self,
        *,
        SecretId: str,
        VersionStage: str,
        RemoveFromVersionId: str | None = None,
        MoveToVersionId: str | None = None,
    ) -> Answer:
        """Move a label, or take it away; from where it is must be said, and said rightly."""
        operation = "UpdateSecretVersionStage"
        secret = self._usable(operation, SecretId)
        target = None if MoveToVersionId is None else secret.versions.get(MoveToVersionId)
        if MoveToVersionId is not None and target is None:
            raise _missing(operation, "the version to move the label to")
        holder = secret.staged(VersionStage)
        _check_holder(holder, target, RemoveFromVersionId)
        if target is not None:
            secret.label(VersionStage, target)
        elif VersionStage == CURRENT:
            raise refused(operation, PARAMETER, "AWSCURRENT can be moved only")
        elif holder is not None:
            holder.stages.remove(VersionStage)
        secret.changed_at = self.clock()
        return _named(secret)

    def delete_secret(self, *, SecretId: str, ForceDeleteWithoutRecovery: bool = False) -> Answer:
        """Mark a secret for deletion in 30 days, or delete it at once."""
        secret = self._found("DeleteSecret", SecretId)
        now = self.clock()
        if ForceDeleteWithoutRecovery:
            del self._secrets[secret.name]
            return _named(secret) | {"DeletionDate": now}
        if secret.deleted_at is not None:
            raise _marked("DeleteSecret")
        secret.deleted_at = now
        return _named(secret) | {"DeletionDate": now + timedelta(days=RECOVERY_DAYS)}

    # --- lists ---

    def _paginators(self) -> dict[str, Pages]:
        return {"list_secrets": self._secret_pages}

    def _secret_pages(self, *, Filters: Sequence[Mapping[str, Any]] = ()) -> Iterator[Answer]:
        prefixes = _prefixes(Filters)
        for page, more in in_pages(lambda: self._listed(prefixes), lambda secret: secret.name, self._page_size):
            answer = {"SecretList": [_listed(secret) for secret in page]}
            yield answer | ({"NextToken": page[-1].name} if more else {})

    def _listed(self, prefixes: tuple[str, ...]) -> list[Secret]:
        secrets = (secret for secret in self._secrets.values() if secret.deleted_at is None)
        return sorted((each for each in secrets if each.name.startswith(prefixes)), key=lambda secret: secret.name)

    # --- the secrets ---

    def _added(self, secret: Secret, version_id: str, value: str, stages: Iterable[str]) -> SecretVersion:
        now = self.clock()
        version = secret.versions.setdefault(version_id, SecretVersion(version_id, None, now))
        version.value, secret.changed_at = value, now
        for stage in stages:
            secret.label(stage, version)
        return version

    def _found(self, operation: str, secret_id: str) -> Secret:
        by_arn = (secret for secret in self._secrets.values() if secret.arn == secret_id)
        secret = self._secrets.get(secret_id) or next(by_arn, None)
        if secret is None:
            raise _missing(operation, "the specified secret")
        return secret

    def _usable(self, operation: str, secret_id: str) -> Secret:
        secret = self._found(operation, secret_id)
        if secret.deleted_at is not None:
            raise _marked(operation)
        return secret

    def _new_id(self) -> str:
        return f"00000000-0000-4000-8000-{self._next_number():012d}"


def _checked_id(version_id: str) -> str:
    if len(version_id) not in TOKEN_LENGTHS:
        raise unsendable("Invalid length for parameter ClientRequestToken or VersionId, valid min length: 32")
    return version_id


def _check_holder(holder: SecretVersion | None, target: SecretVersion | None, remove_from: str | None) -> None:
    """Whoever moves or takes a label away must name the version that has it, unless none has or the target itself."""
    operation = "UpdateSecretVersionStage"
    if remove_from is None and (holder is None or holder is target):
        return
    if holder is None or remove_from != holder.id:
        raise refused(operation, PARAMETER, "The staging label is attached to another version, which must be named")


def _prefixes(filters: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    if not filters:
        return ("",)
    if len(filters) > 1 or filters[0]["Key"] != "name" or any(value.startswith("!") for value in filters[0]["Values"]):
        raise NotImplementedError(f"the filters {filters}")
    return tuple(filters[0]["Values"])


def _named(secret: Secret) -> Answer:
    return {"ARN": secret.arn, "Name": secret.name}


def _described(secret: Secret) -> Answer:
    answer = _named(secret) | {"CreatedDate": secret.created_at, "LastChangedDate": secret.changed_at}
    return answer | ({} if secret.deleted_at is None else {"DeletedDate": secret.deleted_at})


def _listed(secret: Secret) -> Answer:
    stages = {version.id: sorted(version.stages) for version in secret.versions.values() if version.stages}
    return _described(secret) | {"SecretVersionsToStages": stages}


def _missing(operation: str, what: str) -> ClientError:
    return refused(operation, MISSING, f"Secrets Manager can't find {what}.")


def _marked(operation: str) -> ClientError:
    return refused(operation, INVALID, "The secret is marked for deletion.")


def _taken(secret: Secret) -> ClientError:
    if secret.deleted_at is not None:
        return refused("CreateSecret", INVALID, "A secret with this name is already scheduled for deletion.")
    return refused("CreateSecret", EXISTS, "A secret with this name already exists.")
