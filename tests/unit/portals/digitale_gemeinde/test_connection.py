"""The secret of a connection: what it takes, what it refuses, and that it shows nothing."""

from typing import Any

import pytest
from pydantic import ValidationError

from amtsbote.errors import Reject
from amtsbote.portals.digitale_gemeinde.connection import DigitaleGemeindeSecret, Routes, address

LEAST: dict[str, Any] = {"baseUrl": "https://portal.example.ch/core/", "apiKey": "geheim", "tenantId": 17}


def test_the_least_secret_has_the_defaults_of_the_contract() -> None:
    secret = DigitaleGemeindeSecret.model_validate(LEAST)
    assert secret.base_url == "https://portal.example.ch/core"
    assert secret.api_key_header == "Ocp-Apim-Subscription-Key"
    assert secret.statuses.all == ("Neu", "In Bearbeitung", "Abgeschlossen", "Refund")
    assert secret.routes.upload == "POST /Form/{formId}/document/{documentId}/file/{fieldId}"
    assert secret.form_ids == ()


def test_the_whole_secret_of_the_contract_is_taken() -> None:
    routes = {name: getattr(Routes(), name) for name in Routes.model_fields}
    statuses = {"new": "Neu", "processing": "In Bearbeitung", "done": "Abgeschlossen", "refund": "Refund"}
    body = LEAST | {"formIds": ["a"], "acknowledge": "stored", "statuses": statuses, "apiKeyHeader": "X-Key"}
    secret = DigitaleGemeindeSecret.model_validate(body | {"routes": routes})
    assert secret.form_ids == ("a",)


def test_a_route_may_leave_the_form_out_where_the_document_is_named() -> None:
    routes = Routes(details="GET /api/forms/{documentId}", upload="PUT /f/{documentId}/{fieldId}")
    assert address(routes.details, {"formId": "f", "documentId": "d 1/2"}) == ("GET", "/api/forms/d%201%2F2")


def test_an_id_that_would_climb_is_refused() -> None:
    with pytest.raises(Reject, match="formId"):
        address(Routes().details, {"formId": "..", "documentId": "1"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("baseUrl", "portal.example.ch"),
        ("baseUrl", "https://user:geheim@portal.example.ch"),
        ("apiKey", ""),
        ("apiKey", "geheim\r\nX: y"),
        ("tenantId", 2**31),
        ("tenantId", "17"),
        ("tenantId", True),
        ("formIds", [""]),
        ("apiKeyHeader", "X Key"),
        ("apiKeyHeader", "Content-Length"),
        ("statuses", {"new": "Neu", "processing": "neu"}),
        ("statuses", {"done": "Refund"}),
        ("statuses", {"open": "Offen"}),
        ("routes", {"token": "/Token"}),
        ("routes", {"token": "POST Token"}),
        ("routes", {"token": "POST //evil.example/Token"}),
        ("routes", {"count": "GET /Form/count?tenantId=1"}),
        ("routes", {"search": "POST /Form/{formId}/search"}),
        ("routes", {"details": "GET /Form/{formId}"}),
        ("routes", {"details": "GET /Form/{formId}/{documentid}"}),
        ("routes", {"update": "PUT /Form/../{documentId}"}),
        ("routes", {"upload": "POST /Form/{documentId}"}),
        ("routes", {"upload": "POST /Form/{documentId}/{fieldId}/{documentId}"}),
        ("routes", {"delete": "DELETE /Form/{documentId}"}),
        ("user", "unknown"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field_and_without_its_value(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        DigitaleGemeindeSecret.model_validate(LEAST | {field: value})
    assert refusal.value.errors()[0]["loc"][0] == field
    assert "geheim" not in str(refusal.value)
