"""What functions know of AWS is cut out of botocore's data: it has to be enough, and to lead to the same requests."""

from __future__ import annotations

from typing import Any, cast

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader

from amtsbote.api_models import FOLDER, LeanLoader
from tools.api_models import SERVICES, written

USUAL, LEAN = Loader(), LeanLoader()  # each reads a model once
REGIONS = ("eu-central-1", "us-east-1", "eu-west-3", "us-gov-west-1", "cn-north-1", "eusc-de-east-1", "xx-new-1")
CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("dynamodb", "get_item", {"TableName": "t", "Key": {"pk": {"S": "k"}}}),
    ("events", "put_events", {"Entries": [{"Source": "s", "DetailType": "t", "Detail": "{}"}]}),
    ("s3", "put_object", {"Bucket": "a-bucket", "Key": "ä b", "Body": b"x", "IfNoneMatch": "*"}),
    ("s3", "list_object_versions", {"Bucket": "with.dots", "Prefix": "p"}),
    ("s3", "head_bucket", {"Bucket": "a-bucket"}),
    ("secretsmanager", "get_secret_value", {"SecretId": "amtsbote/duba/klinikum"}),
    ("sqs", "send_message", {"QueueUrl": "https://sqs.example.com/1/q", "MessageBody": "b"}),
)


class _Sent(Exception):
    pass


def test_the_extracts_are_those_of_the_locked_botocore() -> None:
    found = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*.json")}
    assert found == {str(path): text for path, text in written().items()}, "run `python -m tools.api_models`"


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize(("service", "method", "given"), CALLS, ids=[f"{each[0]}-{each[1]}" for each in CALLS])
def test_a_request_is_the_same_as_without_them(
    service: str, method: str, given: dict[str, Any], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    usual, lean = (_request(loader, region, service, method, given) for loader in (USUAL, LEAN))
    assert lean == usual


def test_each_service_of_the_functions_is_found_here() -> None:
    for service in SERVICES:
        version = LEAN.determine_latest_version(service, "service-2")
        _, path = LEAN.load_data_with_path(f"{service}/{version}/service-2")
        assert path.startswith(str(FOLDER))


def test_another_service_is_found_where_botocore_keeps_it() -> None:
    session = botocore.session.Session()
    session.register_component("data_loader", LEAN)
    assert session.create_client("sts", region_name="eu-central-1").meta.service_model.service_name == "sts"


def test_a_service_that_there_is_not_is_refused_as_ever() -> None:
    with pytest.raises(UnknownServiceError):
        LEAN.load_service_model("no-such-service", "service-2")


def test_paginators_are_found() -> None:
    session = botocore.session.Session()
    session.register_component("data_loader", LEAN)
    assert session.create_client("s3", region_name="eu-central-1").can_paginate("list_object_versions")


def _request(loader: Loader, region: str, service: str, method: str, given: dict[str, Any]) -> tuple[object, ...]:
    """Return what a client would send: method, address, body and signed headers."""
    session = botocore.session.Session()
    session.set_credentials("AKIDEXAMPLE", "secret")
    session.register_component("data_loader", loader)
    client = session.create_client(cast(Any, service), region_name=region)
    sent: list[AWSPreparedRequest] = []

    def stop(request: AWSPreparedRequest, **_: object) -> None:
        sent.append(request)
        raise _Sent

    client.meta.events.register("before-send", stop)
    with pytest.raises(_Sent):
        getattr(client, method)(**given)
    (request,) = sent
    scope = str(request.headers["Authorization"]).partition("Signature=")[0]
    kept = {name: value for name, value in request.headers.items() if name.lower() in ("host", "x-amz-target")}
    return request.method, request.url, scope, kept
