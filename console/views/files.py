"""Downloads: a document's files, checked while they stream, and receipts."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from botocore.exceptions import ClientError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from amtsbote.errors import Quarantine, Reject
from amtsbote.operations.details import READ_BYTES, Detail, File, receipt, show
from amtsbote.operations.documents import Direction
from amtsbote.operations.office import Office
from amtsbote.operations.sentences import said
from amtsbote.storage import JSON_TYPE, json_text
from console.desk import Desk, name_in

BYTES_TYPE = "application/octet-stream"  # never one that a browser would show by itself


def view(desk: Desk, request: Request) -> Response:
    """Stream one file of a document to the browser."""
    key = request.query_params.get("key", "")
    detail = show(desk.office, name_in(request))
    file = next((each for each in files_of(desk.office, detail) if each.key == key), None)
    if file is None:
        raise Reject("NO_FILE", said("the document has no such file, or has it no longer"))
    answer = desk.office.s3.get_object(Bucket=detail.bucket, Key=file.key, **_version_of(detail))
    headers = _attached(file.name) | {"Content-Length": str(answer["ContentLength"])}
    return StreamingResponse(checked(answer["Body"], file), headers=headers, media_type=BYTES_TYPE)


def view_receipt(desk: Desk, request: Request) -> Response:
    """Download the receipt of a delivery; a secret in it is left out."""
    key = name_in(request)
    headers = _attached(f"{key.rpartition('/')[2]}.json")
    return Response(json_text(receipt(desk.office, key)), headers=headers, media_type=JSON_TYPE)


def files_of(office: Office, detail: Detail) -> tuple[File, ...]:
    """Return the files of a document; of a delivery the version that was dropped, while it is there and readable."""
    if detail.document.direction is Direction.IN:
        return detail.files
    key = detail.document.id
    try:
        answer = office.s3.head_object(Bucket=detail.bucket, Key=key, **_version_of(detail))
    except ClientError:
        return ()  # gone by the bucket's rules, or not to be seen with these permissions: nothing to show either way
    return (File(key, key.rpartition("/")[2], answer["ContentLength"]),)


def _version_of(detail: Detail) -> Any:
    """Return what names the version of a delivery's file; the inbox's files are never written twice."""
    version = detail.document.version_id
    return {} if version is None else {"VersionId": version}


def checked(body: Any, file: File) -> Iterator[bytes]:
    """Yield a file's bytes, the last of them only when all together are what was stored.

    Where they are not, the answer breaks off before its announced length: a browser calls that a failed download, and
    leaves no file that looks whole.
    """
    digest, held = sha256(), b""
    for chunk in body.iter_chunks(READ_BYTES):
        if held:
            yield held
        digest.update(chunk)
        held = chunk
    if file.sha256 not in (None, digest.hexdigest()):
        raise Quarantine("SHA256_DIFFERS", "the file is not what was stored: its SHA-256 differs")
    yield held


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"}
