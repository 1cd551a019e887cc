"""The secret: what it must hold, what is refused, and that no value of it is ever shown."""

from typing import Any

import pytest
from pydantic import ValidationError

from amtsbote.portals.altinn import AltinnSecret
from amtsbote.portals.altinn.connection import Bearer, Dialect, Maskinporten

BEARER = {"kind": "bearer", "token": "abc.def"}
WHOLE: dict[str, Any] = {
    "storageUrl": "https://platform.altinn.no/storage/api/v1",
    "appsUrl": "https://{org}.apps.altinn.no/{org}/{app}",
    "apps": ["org/app"],
    "currentTask": None,
    "acknowledge": "stored",
    "dialect": "v1",
    "auth": {
        "kind": "maskinporten",
        "clientId": "client",
        "keyId": "key-1",
        "privateKey": "-----BEGIN PRIVATE KEY-----",
        "scopes": ["altinn:serviceowner/instances.read", "altinn:serviceowner/instances.write"],
        "tokenUrl": "https://maskinporten.no/token",
        "audience": "https://maskinporten.no/",
        "exchangeUrl": "https://platform.altinn.no/authentication/api/v1/exchange/maskinporten",
    },
}


def secret(**changes: Any) -> AltinnSecret:
    return AltinnSecret.model_validate(WHOLE | changes)


def test_the_secret_of_the_contract_is_taken() -> None:
    assert isinstance(secret().auth, Maskinporten)


def test_an_audience_keeps_its_last_slash() -> None:
    auth = secret().auth
    assert isinstance(auth, Maskinporten) and auth.audience == "https://maskinporten.no/"


def test_a_bearer_token_is_another_kind_of_login() -> None:
    assert isinstance(secret(auth=BEARER).auth, Bearer)


def test_what_is_left_out_is_production_in_todays_dialect() -> None:
    short = AltinnSecret.model_validate({"apps": ["org/app"], "auth": BEARER})
    assert (short.storage_url, short.dialect, short.current_task) == (WHOLE["storageUrl"], Dialect.V1, None)


def test_a_key_that_is_no_key_is_not_looked_at_yet() -> None:
    secret(auth=WHOLE["auth"] | {"privateKey": "not a key"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"apps": []}, "apps"),
        ({"apps": ["app"]}, "apps.0"),
        ({"apps": ["org/app/more"]}, "apps.0"),
        ({"apps": ["evil.example/#/app"]}, "apps.0"),
        ({"appsUrl": "https://org.apps.altinn.no/{org}"}, "appsUrl"),
        ({"appsUrl": "https://{org}.apps.altinn.no/{org}/{app}/{version}"}, "appsUrl"),
        ({"storageUrl": "platform.altinn.no"}, "storageUrl"),
        ({"storageUrl": "https://user:word@platform.altinn.no/"}, "storageUrl"),
        ({"currentTask": ""}, "currentTask"),
        ({"dialect": "v2"}, "dialect"),
        ({"password": "x"}, "password"),
        ({"auth": BEARER | {"kind": "basic"}}, "auth"),
        ({"auth": BEARER | {"clientId": "x"}}, "auth.bearer.clientId"),
        ({"auth": {"kind": "bearer", "token": '"quoted"'}}, "auth.bearer.token"),
        ({"auth": WHOLE["auth"] | {"scopes": []}}, "auth.maskinporten.scopes"),
        ({"auth": WHOLE["auth"] | {"scopes": ["two words"]}}, "auth.maskinporten.scopes.0"),
        ({"auth": WHOLE["auth"] | {"keyId": ""}}, "auth.maskinporten.keyId"),
    ],
)
def test_a_mistake_is_named_by_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        secret(**changes)
    assert field == ".".join(map(str, refusal.value.errors()[0]["loc"]))


def test_no_value_is_shown() -> None:
    with pytest.raises(ValidationError) as refusal:
        secret(auth=BEARER | {"token": "geheim wort"})
    assert "geheim" not in str(refusal.value)
    assert "abc.def" not in repr(secret(auth=BEARER))
    assert "BEGIN" not in repr(secret())
