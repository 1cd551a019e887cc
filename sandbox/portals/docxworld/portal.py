"""The simulated docxworld: the routes, who may use them, and what tests prepare and ask."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

from sandbox.portals.server import Clock, SimulatedPortal, utc_now

from .administration import Accesses, Users, access_rules, user_rules
from .api import Call, Rule, caller, catalogue_rules, download_rules, upload_rules
from .catalogue import Catalogue, Target, Workflow
from .companies import Companies, Workflows, company_rules, workflow_rules
from .downloads import Acknowledgement, Download, Downloads, Readiness
from .errors import (
    RefusedError,
    error_answer,
    not_found,
    service_of,
    unauthorized,
)
from .fields import Query
from .identity import (
    DEFAULT_APP_CLIENT_ID,
    DEFAULT_TOKEN_SECONDS,
    ROLES,
    Account,
    Identities,
    cognito_error,
    oauth_error,
)
from .jobs import APPROVAL_STATES, WAITING, Job, Script
from .rotation import Rotations, rotation_rules
from .storage import PREFIX, Blob, Storage, StorageError, StoredObject, metadata_of
from .uploads import Decision, UploadOptions, Uploads

COGNITO_PATH = "/cognito"
TOKEN_PATH = "/oauth2/token"
ANY_KEY = r"[\s\S]+"  # a key may hold line breaks


@dataclass(frozen=True)
class Content:
    """What has been stored, as a test compares it."""

    sha256: str
    size: int


class SimulatedDocxworld(SimulatedPortal):
    """docxworld with its login, its token endpoint and its bucket, all below one base URL.

    Cognito is at `cognito_url`, OAuth at `token_url`, the API at `<base_url>/v1/…`, the bucket at `<base_url>/s3/…`.
    `options` hold what the documentation leaves open about uploads. Contents are kept in `folder`, by default a
    temporary one that goes with the object.
    """

    name: ClassVar[str] = "docxworld"

    def __init__(
        self,
        *,
        clock: Clock = utc_now,
        options: UploadOptions | None = None,
        token_seconds: float = DEFAULT_TOKEN_SECONDS,
        app_client_id: str = DEFAULT_APP_CLIENT_ID,
        folder: Path | None = None,
    ) -> None:
        super().__init__(clock=clock)
        self._delete_folder: Callable[[], object] | None = None
        self.storage = Storage(self._now, folder or self._temporary_folder(), self._origin)
        self.identities = Identities(self._now, token_seconds, app_client_id)
        self.rotations = Rotations(self._now, self.identities, lambda: self.token_url)
        self.catalogue = Catalogue()
        self.companies = Companies(self._now)
        self.workflows = Workflows(self.catalogue, self.companies)
        self.users = Users(self.identities, self.companies, self.catalogue)
        self.accesses = Accesses(self._now, self.identities, self.companies, self.rotations)
        self.uploads = Uploads(self._now, self.storage, self.catalogue)
        self.downloads = Downloads(self._now, self.storage, self.catalogue)
        self.uploads.options = options or UploadOptions()
        self.uploads.linked = self.downloads.of_upload

    def _temporary_folder(self) -> Path:
        folder = tempfile.mkdtemp(prefix="docxworld-")
        self._delete_folder = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _now(self) -> datetime:
        """The portal's clock, also when it is exchanged later."""
        return self.clock()

    def _origin(self) -> str:
        return self.base_url

    @property
    def cognito_url(self) -> str:
        """Where InitiateAuth is posted to."""
        return self.base_url + COGNITO_PATH

    @property
    def token_url(self) -> str:
        """The OAuth token endpoint."""
        return self.base_url + TOKEN_PATH

    @property
    def app_client_id(self) -> str:
        """The Cognito client id that a user's login names."""
        return self.identities.app_client_id

    # --- what a test or a demonstration prepares ---

    def add_user(
        self,
        login: str = "user@example.com",
        password: str = "a password",
        roles: set[str] | None = None,
        targets: set[str] | None = None,
        **more: Any,
    ) -> Account:
        """A user; without `roles` in all of them, without `targets` assigned to all."""
        return self._add_account(Account(login, {password}, roles or set(ROLES), targets=targets, **more))

    def add_technical_access(
        self, client_id: str, client_secret: str, roles: set[str], targets: set[str] | None = None, **more: Any
    ) -> Account:
        """A technical access; its scopes follow from its roles (`identity.scope_of`)."""
        return self._add_account(Account(client_id, {client_secret}, roles, technical=True, targets=targets, **more))

    def _add_account(self, account: Account) -> Account:
        with self.lock:
            return self.identities.add(account)

    def change_secrets(self, login: str, secrets: set[str]) -> None:
        """The passwords or client secrets that are good from now on; tokens already issued stay good."""
        with self.lock:
            self.identities.accounts[login].secrets = set(secrets)

    def expire_tokens(self) -> None:
        """Every token issued so far is no longer good."""
        with self.lock:
            self.identities.expire_all()

    def add_target(
        self,
        name: str = "workflow 1",
        abbreviation: str = "W1",
        *,
        script: Script | None = None,
        target_id: str | None = None,
        **workflow: Any,
    ) -> Target:
        """A target with a workflow of its own (further fields of `Workflow` by name); uploads to it follow `script`."""
        target = Target(Workflow(name, abbreviation, **workflow))
        with self.lock:
            target = self.catalogue.add(replace(target, id=target_id or target.id))
            if script is not None:
                self.follow_script(target.id, script)
            return target

    def follow_script(self, target_id: str, script: Script) -> None:
        """What becomes of the uploads to this target whose content is complete from now on."""
        with self.lock:
            self.uploads.scripts[target_id] = script

    def add_upload(self, owner: Account, target: Target, content: bytes | None = None, **job: Any) -> Job:
        """An upload that is there already (more fields of `Job` by name): SCHEDULED, or with its content complete."""
        fields = {
            "file_name": "brief.pdf",
            "file_size": len(content or b""),
            "created": self.clock(),
            "approval_state": "REQUIRED" if target.workflow.approval_needed else "NOT_REQUIRED",
        }
        with self.lock:
            added = Job(owner, target, **{**fields, **job})
            self.uploads.jobs[added.id] = added
            if content is not None:
                self.storage.put_content(added.key, content)
                self.uploads.stored(added.key)
            return added

    def add_download(
        self,
        target: Target,
        content: bytes | Path = b"a result",
        *,
        type: str = "RESULT",
        file_name: str = "result.pdf",
        **more: Any,
    ) -> Download:
        """A download that lies ready (further fields of `Download` by name). A content on disk is read where it is."""
        with self.lock:
            fields = {"created": self.clock(), **more}
            return self.downloads.add(Download(target, type, file_name, **fields), content)

    def taken_by_other_client(self, download_id: str, client_id: str = "another-client") -> None:
        """Somebody else acknowledges this download."""
        with self.lock:
            self.downloads.take(self.downloads.downloads[download_id], client_id, None, None)

    def remove(self, download_id: str) -> None:
        """The download is gone, and its file with it."""
        with self.lock:
            self.downloads.remove(download_id)

    def lose_file(self, download_id: str) -> None:
        """The download is still listed, its file is gone."""
        with self.lock:
            self.storage.objects.pop(self.downloads.downloads[download_id].key)

    def decide_approval(
        self, process_id: str, state: str, approver: Account | None = None, message: str | None = None
    ) -> None:
        """A person decides at the portal (or the deadline does: EXPIRED). ValueError when nothing waits for it."""
        with self.lock:
            job = self.job(process_id)
            if job.approval_state != WAITING or state not in APPROVAL_STATES:
                raise ValueError(f"{process_id} is {job.approval_state}")
            job.decide(state, approver, message, self.clock())

    # --- what a test asks ---

    def job(self, process_id: str) -> Job:
        """The upload as it is now."""
        with self.lock:
            self.uploads.advance()
            return self.uploads.jobs[process_id]

    def jobs(self) -> list[Job]:
        """All uploads as they are now, in the order in which they were asked for."""
        with self.lock:
            self.uploads.advance()
            return list(self.uploads.jobs.values())

    def upload_by_reference(self, reference_id: str) -> Job | None:
        """The first upload with this reference, whoever it is from."""
        return next((job for job in self.jobs() if job.reference_id == reference_id), None)

    def uploaded_content(self, process_id: str) -> Content | None:
        """Hash and length of what was uploaded; None while it is not complete."""
        stored = self._stored(process_id)
        return None if stored is None else _content(stored)

    def received_content(self, process_id: str) -> Content | None:
        """As `uploaded_content`, but of what an encrypted upload holds; None also where that does not open."""
        with self.lock:
            if self.uploads.jobs[process_id].encryption is None:
                return self.uploaded_content(process_id)
            opened = self.uploads.opened(process_id)
        return None if opened is None else Content(*opened)

    def read_upload(self, process_id: str) -> bytes:
        """What was uploaded, whole in memory. KeyError while it is not complete."""
        stored = self._stored(process_id)
        if stored is None:
            raise KeyError(process_id)
        return b"".join(stored.read())

    def _stored(self, process_id: str) -> StoredObject | None:
        with self.lock:
            job = self.uploads.jobs[process_id]
            return self.storage.objects.get(job.key)

    def storage_puts(self, process_id: str) -> int:
        """How many PUTs the storage has taken for this upload, chunks and repeats among them."""
        with self.lock:
            return self.storage.puts.get(self.uploads.jobs[process_id].key, 0)

    def chunk_puts(self, process_id: str) -> dict[int, int]:
        """How many PUTs each part number of an open chunked upload has taken."""
        with self.lock:
            upload = self.storage.multiparts.get(self.uploads.jobs[process_id].upload_id or "")
            return dict(upload.puts) if upload else {}

    def acknowledgements(self) -> list[Acknowledgement]:
        """All acknowledgements that took effect; a repeated one is not among them twice."""
        with self.lock:
            return list(self.downloads.acknowledgements)

    def drafts(self, readiness: Readiness) -> list[Download]:
        """The downloads that are drafts, ready, or in error."""
        with self.lock:
            return [each for each in self.downloads.downloads.values() if each.readiness is readiness]

    def downloaded_content(self, download_id: str) -> Content:
        """Hash and length of the file of a download."""
        with self.lock:
            return _content(self.storage.objects[self.downloads.downloads[download_id].key])

    def decisions(self) -> list[Decision]:
        """All decisions that came through the API."""
        with self.lock:
            return list(self.uploads.decisions)

    @property
    def logins(self) -> int:
        """How many access tokens have been issued."""
        with self.lock:
            return self.identities.logins

    def state(self) -> Mapping[str, Any]:
        """Counts only."""
        return {
            "uploads": len(self.uploads.jobs),
            "downloads": len(self.downloads.downloads),
            "acknowledgements": len(self.downloads.acknowledgements),
            "logins": self.identities.logins,
        }

    def close(self) -> None:
        """Delete the contents, if they were in a temporary folder."""
        if self._delete_folder is not None:
            self._delete_folder()

    # --- answers ---

    def error(self, status: int, message: str) -> web.Response:
        """An error in the body that docxworld documents."""
        code = "server.unexpected_internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "client.bad_request"
        return error_answer(RefusedError(HTTPStatus(status), code, message), "/v1/uploads", self.clock())

    def expired_token(self, request: web.Request) -> web.Response:
        """Credentials that are no longer good, as each of the four endpoints says it."""
        if request.path.startswith(COGNITO_PATH):
            return cognito_error("NotAuthorizedException", "Incorrect username or password.")
        if request.path == TOKEN_PATH:
            return oauth_error("invalid_client")
        if request.path.startswith(PREFIX):
            return StorageError(403, "AccessDenied", "Request has expired").answer()
        return error_answer(unauthorized(service_of(request.path)), request.path, self.clock())

    # --- routes ---

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Cognito, OAuth, the API, the bucket."""
        api = [web.route(rule.method, rule.path, self._serving(rule)) for rule in self._rules()]
        return [
            web.post(COGNITO_PATH, self._cognito),
            web.post(f"{COGNITO_PATH}/", self._cognito),
            web.post(TOKEN_PATH, self._oauth),
            *api,
            web.route("*", "/v1/{rest:.*}", self._no_such_path),
            web.put(f"{PREFIX}{{key:{ANY_KEY}}}", self._put_object),
            web.get(f"{PREFIX}{{key:{ANY_KEY}}}", self._get_object),
        ]

    def _rules(self) -> list[Rule]:
        return [
            *upload_rules(self.uploads),
            *catalogue_rules(self.catalogue),
            *download_rules(self.downloads),
            *rotation_rules(self.rotations),
            *company_rules(self.companies),
            *workflow_rules(self.workflows),
            *user_rules(self.users),
            *access_rules(self.accesses),
        ]

    def _serving(self, rule: Rule) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                with self.lock:
                    account, role = caller(request, rule, self.identities)
                query = Query(request, rule.parameters)
                body, file = await rule.read(request)
                with self.lock:
                    self.uploads.advance()
                    found = rule.handle(Call(request, account, role, query, body, file))
            except RefusedError as refusal:
                return error_answer(refusal, request.path, self.clock())
            return _answer_of(rule, request, found)

        return answer

    async def _no_such_path(self, request: web.Request) -> web.Response:
        return error_answer(not_found("client.error", "Not Found"), request.path, self.clock())

    async def _cognito(self, request: web.Request) -> web.Response:
        body = await request.read()
        with self.lock:
            target = request.headers.get("X-Amz-Target", "")
            return self.identities.initiate_auth(target, request.content_type, body)

    async def _oauth(self, request: web.Request) -> web.Response:
        form = await request.post()
        with self.lock:
            authorization = request.headers.get("Authorization", "")
            return self.identities.client_credentials(authorization, request.content_type, form)

    async def _put_object(self, request: web.Request) -> web.Response:
        key = request.path.removeprefix(PREFIX)
        try:
            with self.lock:
                self.storage.check(request, free_metadata=self._metadata_is_free(key))
            blob = await self.storage.receive(request)
            with self.lock:
                self._keep(request, key, blob)
        except StorageError as refusal:
            return refusal.answer()
        return web.Response(headers={"ETag": f'"{blob.etag}"'})

    def _metadata_is_free(self, key: str) -> bool:
        return self.downloads.is_draft(key) and not self.downloads.draft_headers_signed

    def _keep(self, request: web.Request, key: str, blob: Blob) -> None:
        if "partNumber" in request.query:
            self.storage.keep_part(request.query["uploadId"], int(request.query["partNumber"]), blob)
            return
        self.storage.keep(key, blob, metadata_of(request))
        self.uploads.stored(key)
        self.downloads.stored(key)

    async def _get_object(self, request: web.Request) -> web.StreamResponse:
        try:
            with self.lock:
                self.storage.check(request)
                return self.storage.serve(request, request.path.removeprefix(PREFIX))
        except StorageError as refusal:
            return refusal.answer()


def _answer_of(rule: Rule, request: web.Request, found: dict[str, Any] | list[Any] | None) -> web.Response:
    """An answer in its documented status; what has been created is named by Location."""
    if found is None:
        return web.Response(status=rule.status)
    created = rule.status is HTTPStatus.CREATED and isinstance(found, dict)
    headers = {"Location": str(request.url / str(found["id"]))} if created and isinstance(found, dict) else {}
    body = json.dumps(found).encode()
    return web.Response(status=rule.status, body=body, content_type="application/json", headers=headers)


def _content(stored: StoredObject) -> Content:
    digest = hashlib.sha256()
    for chunk in stored.read():
        digest.update(chunk)
    return Content(digest.hexdigest(), stored.size)
