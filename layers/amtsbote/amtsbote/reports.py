"""Reports of comparisons, in the inbox bucket under `reports/`, where no backend looks for documents."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from amtsbote.reconciliation import Report, report_key, report_prefix
from amtsbote.storage import JSON_TYPE, get_or_none

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAMED = "%Y-%m-%dT%H%M%SZ.json"


class Reports:
    """The reports of a stack."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def write(self, report: Report) -> str:
        """Write a report as far as it goes, and return its key."""
        key = report_key(report.portal, report.connection, report.started_at)
        body = report.model_dump_json(by_alias=True, indent=2).encode("utf-8", "backslashreplace")
        self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=JSON_TYPE)
        return key

    def read(self, portal: str, connection: str, started_at: datetime) -> Report | None:
        """Return the report of the comparison that began then (UTC), None where there is none."""
        found = get_or_none(self._client, self._bucket, report_key(portal, connection, started_at))
        return None if found is None else Report.model_validate_json(found[0])

    def moments(self, portal: str, connection: str) -> list[datetime]:
        """Return when the comparisons began whose reports are there, the latest first."""
        return sorted(self._moments(report_prefix(portal, connection)), reverse=True)

    def _moments(self, prefix: str) -> Iterator[datetime]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            for each in page.get("Contents", []):
                yield datetime.strptime(each["Key"].removeprefix(prefix), NAMED).replace(tzinfo=UTC)
