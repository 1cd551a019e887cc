"""The server: which service a request is for, how long AWS would take for it, what it is counted as.

    python -m benchmarks.cloud.server [--latency 1.0] [--table FILE]

prints its port as the first line, and ends when its standard input does.
"""

import argparse
import asyncio
import base64
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks.cloud.bucket import Buckets, StoredObject
from benchmarks.cloud.queues import Queues
from benchmarks.cloud.table import LedgerTable, Refused

HOST = "127.0.0.1"
CONTROL = "/_bench"
JSON = "application/x-amz-json-1.1"
SERVICES = {
    "DynamoDB_20120810": "dynamodb",
    "AmazonSQS": "sqs",
    "AWSEvents": "events",
    "secretsmanager": "secretsmanager",
    "TrentService": "kms",
}
SECONDS: Mapping[str, float] = {
    "dynamodb": 0.004,
    "s3 PUT": 0.030,
    "s3 GET": 0.020,
    "s3 HEAD": 0.012,
    "sqs": 0.010,
    "events": 0.015,
    "secretsmanager": 0.015,
    "kms": 0.010,
}
"""How long a small request takes from a function to the service in its region, about: what other authors measured."""
SECRETS_PER_PAGE = 100
SECRETS_CHANGED_AGO = 3600.0  # seconds: what has changed lately is read at each tick


class LeanAws:
    """All services behind one port."""

    def __init__(self, latency: float, table: Path | None) -> None:
        self._latency = latency
        self.table = LedgerTable(table)
        self.buckets = Buckets()
        self.queues = Queues()
        self.secrets: dict[str, tuple[str, float]] = {}
        self.counts: Counter[str] = Counter()
        self.entries: Counter[str] = Counter()

    def application(self) -> web.Application:
        """Return the whole server."""
        application = web.Application(client_max_size=1 << 30)
        application.add_routes(
            [web.post(f"{CONTROL}/{{what}}", self._control), web.route("*", "/{path:.*}", self._serve)]
        )
        return application

    # --- what functions ask ---

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        prefix, _, operation = request.headers.get("X-Amz-Target", "").partition(".")
        if prefix not in SERVICES:
            return await self._s3(request)
        service, body = SERVICES[prefix], json.loads(await request.read())
        self.counts[f"{service} {operation}"] += 1
        await asyncio.sleep(self._latency * SECONDS[service])
        try:
            return web.json_response(self._answer(service, operation, body), content_type=JSON)
        except Refused as refusal:
            return _refusal(refusal.code)
        except KeyError as missing:
            return _refusal("UnknownOperationException", str(missing))

    async def _s3(self, request: web.Request) -> web.StreamResponse:
        self.counts[f"s3 {request.method}"] += 1
        await asyncio.sleep(self._latency * SECONDS.get(f"s3 {request.method}", 0.0))
        return await self.buckets.answer(request)

    def _answer(self, service: str, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        match service:
            case "dynamodb":
                return self.table.operate(operation, body)
            case "sqs":
                self.entries["sqs"] += len(body.get("Entries", "1"))
                return self.queues.operate(operation, body)
            case "events":
                return self._publish(body)
            case "secretsmanager":
                return self._secret(operation, body)
        return _kms(operation, body)

    def _publish(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.entries.update(f"event {entry['DetailType']}" for entry in body["Entries"])
        return {"FailedEntryCount": 0, "Entries": [{"EventId": str(uuid.uuid4())} for _ in body["Entries"]]}

    def _secret(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "ListSecrets":
            return self._listed(body)
        if operation == "BatchGetSecretValue":
            return self._read_secrets(body["SecretIdList"])
        name = body["SecretId"]
        if operation != "GetSecretValue" or name not in self.secrets:
            raise Refused("ResourceNotFoundException")
        return {"ARN": name, "Name": name, "SecretString": self.secrets[name][0]}

    def _read_secrets(self, names: list[str]) -> dict[str, Any]:
        found = [{"ARN": name, "Name": name, "SecretString": self.secrets[name][0]} for name in names]
        return {"SecretValues": found, "Errors": []}

    def _listed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        (prefix,) = body["Filters"][0]["Values"]
        names = sorted(name for name in self.secrets if name.startswith(prefix))
        start = int(body.get("NextToken", "0"))
        page = names[start : start + SECRETS_PER_PAGE]
        more = {"NextToken": str(start + SECRETS_PER_PAGE)} if start + SECRETS_PER_PAGE < len(names) else {}
        listed = [{"Name": name, "ARN": name, "LastChangedDate": self.secrets[name][1]} for name in page]
        return {"SecretList": listed} | more

    # --- what the benchmark does and looks at ---

    async def _control(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read() or b"{}")
        return web.json_response(await self._controlled(request.match_info["what"], body))

    async def _controlled(self, what: str, body: Mapping[str, Any]) -> Any:
        if what == "take":
            return await self.queues.take(body["queue"], body["most"], body["wait"])
        actions: Mapping[str, Callable[[], Any]] = {
            "secrets": lambda: self._add_secrets(body),
            "send": lambda: self.queues.send(body["queue"], body["bodies"]),
            "done": lambda: self.queues.done(body["queue"], body["ids"]),
            "open": self.queues.open,
            "fill": lambda: self.table.multiply(body["pk"], body["sk"], body["id"], body["first"], body["last"]),
            "object": lambda: self._add_object(body),
            "forget": self._forget,
            "state": self._state,
            "rows": self.table.rows,
            "keys": lambda: sorted(self.buckets.objects),
        }
        return actions[what]()

    def _add_secrets(self, bodies: Mapping[str, Any]) -> None:
        changed_at = time.time() - SECRETS_CHANGED_AGO
        self.secrets |= {name: (body, changed_at) for name, body in bodies.items()}

    def _forget(self) -> None:
        for counted in (self.counts, self.entries, self.table.units):
            counted.clear()

    def _add_object(self, body: Mapping[str, Any]) -> None:
        content = Path(body["file"]) if "file" in body else body["text"].encode()
        self.buckets.objects[body["path"]] = StoredObject(content, "application/octet-stream", body.get("metadata", {}))

    def _state(self) -> dict[str, Any]:
        counts = {"requests": self.counts, "entries": self.entries, "units": self.table.units}
        return {**counts, "rows": self.table.count(), "documents": self.buckets.documents}


def _kms(operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if operation == "Encrypt":
        return {"CiphertextBlob": base64.b64encode(b"sealed" + base64.b64decode(body["Plaintext"])).decode()}
    opened = base64.b64decode(body["CiphertextBlob"]).removeprefix(b"sealed")
    return {"Plaintext": base64.b64encode(opened).decode()}


def _refusal(code: str, message: str = "") -> web.Response:
    return web.json_response({"__type": code, "message": message or code}, status=400, content_type=JSON)


async def _serve_until_told(server: LeanAws) -> None:
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency", type=float, default=1.0, help="times the latency of AWS (0: none)")
    parser.add_argument("--table", type=Path, help="the file of the ledger; in memory without")
    options = parser.parse_args()
    asyncio.run(_serve_until_told(LeanAws(options.latency, options.table)))


if __name__ == "__main__":
    main()
