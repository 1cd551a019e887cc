"""What IAM asks for at each call to AWS: the actions, on which resources, with which condition keys.

The names of actions are not those of calls: HeadObject needs `s3:GetObject`, each call of a multipart upload
`s3:PutObject`, a batch the action of its entries. Where S3 has nothing to hand out it says so only to who may list the
bucket, which it judges with the key as `s3:prefix`. The rules are those of AWS's Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Context = tuple[tuple[str, tuple[str, ...]], ...]
Parameters = Mapping[str, Any]
Rule = Callable[[Parameters], Iterator["Use"]]

EVERYTHING = "*"
CREATES = ("s3:ObjectCreationOperation", ("true",))  # a part of an upload makes no object yet


@dataclass(frozen=True, order=True)
class Use:
    """One action on one resource as IAM judges it; `context` has the condition keys of the request."""

    action: str
    resource: str
    context: Context = ()


def uses_of(call: str, parameters: Parameters) -> Iterator[Use]:
    """Yield what a call needs. `call` is boto3's client and method, such as `s3.head_object`.

    A KeyError where it has no rule here, or one that does not know such parameters.
    """
    yield from RULES[call](parameters)


def use_of_the_missing(parameters: Parameters) -> Use:
    """Return what it needs to be told that an object is not there, and not merely that one may not read it."""
    return Use("s3:ListBucket", bucket_arn(parameters["Bucket"]), prefix_of(parameters["Key"]))


def bucket_arn(name: str) -> str:
    """Return the ARN of a bucket."""
    return f"arn:aws:s3:::{name}"


def prefix_of(key: str) -> Context:
    """Return the condition key of a request to list."""
    return (("s3:prefix", (key,)),)


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _object_of(parameters: Parameters) -> str:
    return f"{bucket_arn(parameters['Bucket'])}/{parameters['Key']}"


def _on_an_object(action: str, versioned: str | None = None) -> Rule:
    """Return the rule of a call about one object, of which a version may be named."""

    def rule(parameters: Parameters) -> Iterator[Use]:
        named = versioned if versioned and "VersionId" in parameters else action
        yield Use(f"s3:{named}", _object_of(parameters))

    return rule


def _creation(parameters: Parameters) -> Iterator[Use]:
    """Make an object; whether only where there is none, S3 tells the bucket's policy."""
    once = (("s3:if-none-match", ("*",)),) if "IfNoneMatch" in parameters else ()
    yield Use("s3:PutObject", _object_of(parameters), (*once, CREATES))


def _put(parameters: Parameters) -> Iterator[Use]:
    """To write over what has a certain ETag, one must be allowed to read it."""
    yield from _creation(parameters)
    if "IfMatch" in parameters:
        yield Use("s3:GetObject", _object_of(parameters))


def _upload(parameters: Parameters) -> Iterator[Use]:
    """An upload that boto3 cuts into parts, and gives up when one fails."""
    yield from _creation(parameters)
    yield Use("s3:AbortMultipartUpload", _object_of(parameters))


def _copy(parameters: Parameters) -> Iterator[Use]:
    yield Use("s3:PutObject", _object_of(parameters))
    yield Use("s3:GetObject", _object_of(parameters["CopySource"]))


def _delete_many(parameters: Parameters) -> Iterator[Use]:
    """Each object by its version; S3 wants the permission to delete as well."""
    for each in parameters["Delete"]["Objects"]:
        place = f"{bucket_arn(parameters['Bucket'])}/{each['Key']}"
        yield Use("s3:DeleteObject", place)
        yield Use("s3:DeleteObjectVersion", place)


def _listing(action: str) -> Rule:
    def rule(parameters: Parameters) -> Iterator[Use]:
        prefix = prefix_of(parameters["Prefix"]) if parameters.get("Prefix") else ()
        yield Use(action, bucket_arn(parameters["Bucket"]), prefix)

    return rule


# ── DynamoDB, SQS, Secrets Manager, EventBridge, KMS ─────────────────────────────────────────────────────────────────


def _rows(action: str, table: str, partitions: Iterator[str]) -> Use:
    return Use(f"dynamodb:{action}", f"table/{table}", (("dynamodb:LeadingKeys", tuple(sorted(set(partitions)))),))


def _row(action: str, at: str) -> Rule:
    def rule(parameters: Parameters) -> Iterator[Use]:
        yield _rows(action, parameters["TableName"], iter([parameters[at]["pk"]["S"]]))

    return rule


def _some_rows(parameters: Parameters) -> Iterator[Use]:
    for table, wanted in parameters["RequestItems"].items():
        yield _rows("BatchGetItem", table, (each["pk"]["S"] for each in wanted["Keys"]))


def _query(parameters: Parameters) -> Iterator[Use]:
    """The partition is the value that the condition on the key begins with."""
    first = parameters["KeyConditionExpression"].split()[2]
    partition = parameters["ExpressionAttributeValues"][first]["S"]
    index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
    yield _rows("Query", f"{parameters['TableName']}{index}", iter([partition]))


def _together(parameters: Parameters) -> Iterator[Use]:
    """A transaction has no action of its own: each write in it has its action; ours are all of one kind."""
    for each in parameters["TransactItems"]:
        yield _rows("PutItem", each["Put"]["TableName"], iter([each["Put"]["Item"]["pk"]["S"]]))


def _queue(action: str) -> Rule:
    def rule(parameters: Parameters) -> Iterator[Use]:
        yield Use(f"sqs:{action}", f"queue/{parameters['QueueUrl']}")

    return rule


def _secret(action: str) -> Rule:
    def rule(parameters: Parameters) -> Iterator[Use]:
        yield Use(f"secretsmanager:{action}", f"secret/{parameters['SecretId']}")

    return rule


def _some_secrets(parameters: Parameters) -> Iterator[Use]:
    """The batch has no resource of its own; each secret in it has."""
    yield Use("secretsmanager:BatchGetSecretValue", EVERYTHING)
    for name in parameters["SecretIdList"]:
        yield Use("secretsmanager:GetSecretValue", f"secret/{name}")


def _list_secrets(parameters: Parameters) -> Iterator[Use]:
    yield Use("secretsmanager:ListSecrets", EVERYTHING)


def _put_events(parameters: Parameters) -> Iterator[Use]:
    for name in {each["EventBusName"] for each in parameters["Entries"]}:
        yield Use("events:PutEvents", f"event-bus/{name}")


def _key(action: str) -> Rule:
    def rule(parameters: Parameters) -> Iterator[Use]:
        said = parameters.get("EncryptionContext", {})
        context = tuple((f"kms:EncryptionContext:{name}", (value,)) for name, value in sorted(said.items()))
        yield Use(f"kms:{action}", f"key/{parameters['KeyId']}", context)

    return rule


RULES: Mapping[str, Rule] = {
    "s3.get_object": _on_an_object("GetObject", "GetObjectVersion"),
    "s3.head_object": _on_an_object("GetObject", "GetObjectVersion"),
    "s3.get_object_tagging": _on_an_object("GetObjectTagging", "GetObjectVersionTagging"),
    "s3.put_object": _put,
    "s3.delete_object": _on_an_object("DeleteObject", "DeleteObjectVersion"),
    "s3.delete_objects": _delete_many,
    "s3.upload_fileobj": _upload,
    "s3.create_multipart_upload": _on_an_object("PutObject"),
    "s3.upload_part": _on_an_object("PutObject"),
    "s3.upload_part_copy": _copy,
    "s3.complete_multipart_upload": _creation,
    "s3.abort_multipart_upload": _on_an_object("AbortMultipartUpload"),
    "s3.list_parts": _on_an_object("ListMultipartUploadParts"),
    "s3.list_objects_v2": _listing("s3:ListBucket"),
    "s3.list_object_versions": _listing("s3:ListBucketVersions"),
    "dynamodb.get_item": _row("GetItem", "Key"),
    "dynamodb.put_item": _row("PutItem", "Item"),
    "dynamodb.transact_write_items": _together,
    "dynamodb.delete_item": _row("DeleteItem", "Key"),
    "dynamodb.batch_get_item": _some_rows,
    "dynamodb.query": _query,
    "sqs.send_message_batch": _queue("SendMessage"),
    "sqs.change_message_visibility": _queue("ChangeMessageVisibility"),
    "secretsmanager.list_secrets": _list_secrets,
    "secretsmanager.get_secret_value": _secret("GetSecretValue"),
    "secretsmanager.batch_get_secret_value": _some_secrets,
    "secretsmanager.describe_secret": _secret("DescribeSecret"),
    "secretsmanager.put_secret_value": _secret("PutSecretValue"),
    "secretsmanager.update_secret_version_stage": _secret("UpdateSecretVersionStage"),
    "events.put_events": _put_events,
    "kms.encrypt": _key("Encrypt"),
    "kms.decrypt": _key("Decrypt"),
}
