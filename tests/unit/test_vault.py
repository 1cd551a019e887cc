"""The vault over moto's KMS: what is sealed opens under its own context and no other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from amtsbote.errors import Retry
from amtsbote.vault import CONTEXT, KmsVault
from tests.unit.support import Recorder, aws_client, refusal

SECRET = bytes(range(32))


@pytest.fixture
def kms() -> Iterator[Any]:
    with mock_aws():
        yield Recorder(aws_client("kms"))


@pytest.fixture
def vault(kms: Any) -> KmsVault:
    return KmsVault(kms, kms.create_key()["KeyMetadata"]["Arn"])


def test_what_is_sealed_opens_again(vault: KmsVault) -> None:
    box = vault.seal(SECRET, "amtsbote-1")
    assert SECRET not in box
    assert vault.open(box, "amtsbote-1") == SECRET


def test_the_context_is_told_to_kms(vault: KmsVault, kms: Any) -> None:
    vault.open(vault.seal(SECRET, "amtsbote-1"), "amtsbote-1")
    for call in ("encrypt", "decrypt"):
        assert kms.named(call)[0]["EncryptionContext"] == {CONTEXT: "amtsbote-1"}


def test_the_context_has_the_name_that_the_keys_policy_asks_for() -> None:
    template = (Path(__file__).parents[2] / "template.yaml").read_text(encoding="utf-8")
    assert f'"kms:EncryptionContext:{CONTEXT}": "false"' in template


def test_another_context_does_not_open_it(vault: KmsVault) -> None:
    box = vault.seal(SECRET, "amtsbote-1")
    with pytest.raises(Retry, match="VAULT_CLOSED"):
        vault.open(box, "amtsbote-2")


def test_a_key_that_is_gone_lets_the_work_wait_and_says_nothing_of_the_secret() -> None:
    class Closed:
        def encrypt(self, **_: Any) -> Any:
            raise refusal("DisabledException")

        decrypt = encrypt

    vault = KmsVault(Closed(), "key")
    for work in (vault.seal, vault.open):
        with pytest.raises(Retry, match="DisabledException") as closed:
            work(SECRET, "amtsbote-1")
        assert "geheim" not in str(closed.value)
