"""The portal's tokens: JWTs in compact form, made and recognised here. Nobody else can make one that is accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from aiohttp import web

ISSUER = "https://digitale-gemeinde.example"
SIGNING_KEY_BYTES = 32


class TokenShape(StrEnum):
    """How the token call words its answer."""

    TOKEN = "token"
    ACCESS_TOKEN = "accessToken"
    OAUTH = "access_token"
    BARE = "bare"
    """The JWT alone, as plain text."""
    QUOTED = "quoted"
    """The JWT alone, as a JSON string."""


def worded(token: str, shape: TokenShape) -> web.Response:
    """The token call's answer in this shape."""
    match shape:
        case TokenShape.BARE:
            return web.Response(text=token)
        case TokenShape.QUOTED:
            return web.json_response(token)
        case _:
            return web.json_response({shape.value: token})


class Tokens:
    """The tokens issued so far, each with its end."""

    def __init__(self) -> None:
        self._signing_key = secrets.token_bytes(SIGNING_KEY_BYTES)
        self._ends: dict[str, datetime] = {}

    def issue(self, now: datetime, lifetime: timedelta, *, signed: bool) -> str:
        """A new token whose `exp` claim is `lifetime` from now, in whole seconds."""
        end = int((now + lifetime).timestamp())
        claims = {"iss": ISSUER, "jti": secrets.token_hex(8), "iat": int(now.timestamp()), "exp": end}
        token = self._jwt(claims, signed=signed)
        self._ends[token] = datetime.fromtimestamp(end, now.tzinfo)
        return token

    def accepts(self, token: str, now: datetime) -> bool:
        """Whether the token was issued here, has not expired and has not been withdrawn."""
        end = self._ends.get(token)
        return end is not None and now < end

    def withdraw_all(self) -> None:
        """Accept none of the tokens issued so far, whatever their `exp` says."""
        self._ends.clear()

    def _jwt(self, claims: dict[str, Any], *, signed: bool) -> str:
        header = {"alg": "HS256" if signed else "none", "typ": "JWT"}
        body = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = hmac.new(self._signing_key, body.encode(), hashlib.sha256).digest() if signed else b""
        return f"{body}.{_encoded(signature)}"


def _encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
