"""Can the simulation fail? Each mutant is one mistake in the package's real code; each must be caught.

`python -m tests.simulation.mutants [--only WORD] [--seeds N]` copies the package, makes the mistake in the copy, and
runs seeds until one complains. The list it prints names the seed and what was said; exit code 1 where one survives.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "layers/amtsbote"
SEEDS = 1500
FOUND = 3  # exit code of a run that has found something


@dataclass(frozen=True)
class Mutant:
    """One mistake: in `file`, `old` (which stands there once) becomes `new`; the simulation of `portal` sees it."""

    mistake: str
    file: str
    old: str
    new: str
    portal: str = "duba"
    also: tuple[str, str, str] | None = None  # file, old and new of a second guard against the same

    @property
    def edits(self) -> Iterator[tuple[str, str, str]]:
        """Yield what is changed."""
        yield self.file, self.old, self.new
        if self.also:
            yield self.also


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the seed that caught it, None where it survived, and the first complaint."""

    mutant: Mutant
    seed: int | None
    complaint: str


COMMON = (
    Mutant(
        "stored in the ledger before it is in the inbox",
        "verbs/fetch.py",
        "        document = services.inbox.commit(identity, stored, record, services.clock())\n",
        "        services.ledger.advance(row, Committed(connection.secret.acknowledge))\n"
        "        document = services.inbox.commit(identity, stored, record, services.clock())\n",
    ),
    Mutant(
        "document.json is not written last",
        "verbs/fetch.py",
        "        stored = services.inbox.store_all(prefix, files, last_try=attempt.last)\n",
        "        whole = Identity(row.portal, row.connection, row.id, prefix)\n"
        "        services.inbox.commit(whole, [], record, services.clock())\n"
        "        stored = services.inbox.store_all(prefix, files, last_try=attempt.last)\n",
    ),
    Mutant(
        "the watermark moves past what is not settled",
        "lifecycle.py",
        "    unsettled = [moment for id_, moment in listed.items() if id_ not in settled]\n",
        "    unsettled: list[datetime | None] = []\n",
    ),
    Mutant(
        "a comparison believes that every event of a drop came",
        "reconciliation.py",
        "        if (each.key, each.version_id) not in known and each.at <= started_at - NOT_SENT_AFTER:\n",
        "        if False:\n",
    ),
    Mutant(
        "a comparison believes document.json of its files",
        "reconciliation.py",
        "    told = [mistake for mistake in mistakes if mistake]\n",
        "    told: list[str] = []\n",
    ),
    Mutant(
        "the query goes back no overlap",
        "verbs/poll.py",
        "asks_since(status, services.settings.overlap)",
        "status.watermark",
    ),
    Mutant("no lease for a fetch", "lifecycle.py", "    if not lease_is_free(row, now):\n", "    if False:\n"),
    Mutant(
        "a request that comes before its time is worked all the same",
        "lifecycle.py",
        "row.waiting_for is None and (row.not_before is None or row.not_before <= now)",
        "row.waiting_for is None",
    ),
    Mutant(
        "no lease for a delivery",
        "deliveries.py",
        "        case SendLease(until) if may_send(row, now):\n",
        "        case SendLease(until):\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "the lease of a delivery is shorter than its work",
        "verbs/deliver.py",
        "timedelta(seconds=services.settings.lease_seconds)",
        "timedelta(seconds=services.settings.lease_seconds / 1000)",
        "digitale-gemeinde",
    ),
    Mutant(
        "a lease that was lost still counts",
        "lifecycle.py",
        "    if row.state is not State.FETCHING or row.fence != fence:\n",
        "    if False:\n",
    ),
    Mutant(
        "the ledger is written blindly",
        "ledger.py",
        '        condition = "#version = :version" if version else "attribute_not_exists(pk)"\n'
        '        values = {":version": version} if version else {}\n'
        '        names = {"#version": "version"} if version else {}\n',
        '        condition, values, names = "attribute_not_exists(pk) OR #version < :version", {":version": 10**9}, '
        '{"#version": "version"}\n',
    ),
    Mutant(
        "an item that another poll has opened is opened anew",
        "ledger.py",
        '"Item": first, "ConditionExpression": "attribute_not_exists(pk)"}',
        '"Item": first}',
    ),
    Mutant(
        "erases what is not acknowledged",
        "lifecycle.py",
        "State.UNAVAILABLE) and row.due is None\n",
        "State.UNAVAILABLE)\n",
    ),
    Mutant(
        "the row says erased before the objects are gone",
        "verbs/retain.py",
        "    begun = row if begins is None else _let(row, begins, services)\n",
        "    begun = row if begins is None else _let(row, begins, services)\n    _let(begun, erased, services)\n",
    ),
    Mutant(
        "erases by the age of the row, not of its last step",
        "lifecycle.py",
        "return erasable and row.state == event.state and row.history[-1].at <= event.ended_by",
        "return erasable and row.state == event.state and row.discovered_at <= event.ended_by",
    ),
    Mutant(
        "erases no words",
        "verbs/retain.py",
        "    services.ledger.forget_words(begun)\n",
        "",
    ),
    Mutant(
        "a step is forgotten in the chain",
        "audit.py",
        "steps, head = list[Past](), kept[-1] if kept else None",
        "steps, head = list[Past](), kept[0] if kept else None",
    ),
    Mutant(
        "a step is sealed without the one before it",
        "audit.py",
        "digest_of(identity if head is None else str(head.digest), facts_of(numbered))",
        "digest_of(identity, facts_of(numbered))",
    ),
    Mutant(
        "a gap in the history is not marked",
        "audit.py",
        "follows or step.after else",
        "True else",
    ),
    Mutant(
        "objects are overwritten",
        "storage.py",
        'Body=body, IfNoneMatch="*", **extra)',
        "Body=body, **extra)",
    ),
    Mutant(
        "a fetch whose request was lost is not asked for again",
        "verbs/poll.py",
        "[*to_fetch, *(row.id for row in requeued)]",
        "to_fetch",
    ),
    Mutant(
        "an acknowledgement without an answer counts as done",
        "portals/duba/adapter.py",
        "said.get(int(item.id), NOT_ANSWERED)",
        'said.get(int(item.id), "DELETED")',
    ),
    Mutant(
        "what waits for the backend is acknowledged at once",
        "inbox.py",
        '        return PROCESSED_TAG in [(tag["Key"], tag["Value"]) for tag in answer["TagSet"]]\n',
        "        return bool(answer)\n",
    ),
    Mutant(
        "what is in quarantine counts as stored",
        "verbs/fetch.py",
        "    services.ledger.advance(row, FoundUnreadable(row.fence, error.code))\n",
        "    policy = services.connections.get(row.connection).secret.acknowledge\n"
        "    services.ledger.advance(row, Committed(policy))\n",
    ),
    Mutant(
        "an outage of the portal makes an item unavailable",
        "http.py",
        '        return Retry("PORTAL_ERROR", said)\n',
        '        return Reject("PORTAL_ERROR", said)\n',
    ),
    Mutant(
        "a body that was cut is taken for whole",
        "http.py",
        '            raise Retry("PORTAL_BODY_CUT", f"the body ended after {received} bytes: {type(error).__name__}")'
        " from None\n",
        "            return\n",
        "altinn",
        also=("inbox.py", "    if file.size is not None and upload.size != file.size:\n", "    if False:\n"),
    ),
    Mutant(
        "a page for people is taken for an API's answer",
        "http.py",
        "        return answer if method in IDEMPOTENT_READS else answer.believed()\n",
        "        return answer\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "a receipt says DELIVERED before the portal has it",
        "verbs/deliver.py",
        "        delivery = destination.deliver(drop, journal)\n",
        "        early = services.ledger.advance_drop(row, Failed(Failure('X', 'x'), row.fence))\n"
        "        update_of(early, services)\n"
        "        delivery = destination.deliver(drop, journal)\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "an older version's receipt overwrites a newer one's",
        "receipts.py",
        "        return current if self._ledger.is_newest(row) else None\n",
        "        return current\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "a first receipt is written over whatever lies there",
        "receipts.py",
        '{"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}',
        '{} if etag is None else {"IfMatch": etag}',
        "digitale-gemeinde",
    ),
    Mutant(
        "a receipt is written over another than the one that was known",
        "receipts.py",
        '{"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}',
        '{"IfNoneMatch": "*"} if etag is None else {}',
        "digitale-gemeinde",
    ),
    Mutant(
        "what lies there is not compared with the step before",
        "receipts.py",
        "            current = row if seen is not None and seen[0] == before else self._current(row)\n",
        "            current = row if over is not None else self._current(row)\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "a drop that another worker has opened is sent",
        "verbs/deliver.py",
        "    if not opened.is_new:\n",
        "    if False:\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "the secret is logged",
        "verbs/accounts.py",
        "        return work(used)\n",
        "        log.info('%s', used.secret.password.get_secret_value())\n        return work(used)\n",
    ),
    Mutant(
        "a request that failed comes again at once, for ever",
        "queues.py",
        '        queue.hide(record["receiptHandle"], pause)\n',
        '        queue.hide(record["receiptHandle"], 0)\n',
    ),
)

OF_ROUTING = (
    Mutant(
        "routes again on a repeated event",
        "verbs/route.py",
        "        if copy.state is CopyState.ROUTED:\n            return False\n",
        "        if copy.state is CopyState.ROUTED:\n"
        "            import dataclasses\n"
        "            copy = dataclasses.replace(copy, state=CopyState.PLANNED, upload_id=None)\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "copy without If-None-Match",
        "copying.py",
        '            IfNoneMatch="*",\n',
        "",
        "digitale-gemeinde",
    ),
    Mutant(
        "each worker copies by an upload of its own",
        "verbs/route.py",
        "        upload_id = str(copy.upload_id)\n",
        "        upload_id = self._services.copier.begin(target, file['contentType'], {**metadata, **mark_of(copy)})\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "what a rule cannot do is forgotten",
        "verbs/route.py",
        "            raise Retry(refusals[0].code, refusals[0].message)\n",
        "            return\n",
        "digitale-gemeinde",
    ),
)

OF_DUBA = (
    Mutant(
        "ids from messageId",
        "portals/duba/adapter.py",
        "                    str(message.id), message.created_at,",
        "                    str(record['messageId']), message.created_at,",
    ),
    Mutant(
        "the answer to a batch of acknowledgements is believed as a whole",
        "portals/duba/adapter.py",
        "        yield _acknowledgement(item.id, said.get(int(item.id), NOT_ANSWERED))\n",
        "        yield _acknowledgement(item.id, next(iter(said.values()), NOT_ANSWERED))\n",
    ),
    Mutant(
        "a message that is not hydrated is fetched",
        "portals/duba/adapter.py",
        "    return None if message.hydrated_at else HYDRATION\n",
        "    return None\n",
    ),
    Mutant(
        "what we sent ourselves is fetched",
        "portals/duba/adapter.py",
        "            wanted = message.direction is None or message.direction in self._secret.directions\n",
        "            wanted = True\n",
    ),
    Mutant(
        "the content is not checked",
        "portals/duba/adapter.py",
        "            verify_zip(content, DEFAULT_LIMITS, check_deadline=self._check_deadline)\n",
        "            pass\n",
    ),
)

OF_DIGITALE_GEMEINDE = (
    Mutant(
        "a refund is asked for again",
        "portals/digitale_gemeinde/delivery.py",
        "        if journal.state.get(REFUND_ASKED):\n",
        "        if False:\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "an upload is not looked for before it is repeated",
        "portals/digitale_gemeinde/delivery.py",
        "        if there <= journal.state.get(HELD, there):\n",
        "        if not journal.state.get(UPLOADED):\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "an upload is not written down before it is tried",
        "portals/digitale_gemeinde/delivery.py",
        "            journal.state.setdefault(SHOWN, _shown(field))\n            journal.save()\n",
        "            journal.state.setdefault(SHOWN, _shown(field))\n",
        "digitale-gemeinde",
    ),
    Mutant(
        "what a newer file may hide is sent again",
        "portals/digitale_gemeinde/delivery.py",
        "            _refuse_hidden(field, journal)\n",
        "",
        "digitale-gemeinde",
    ),
    Mutant(
        "only the first page is read",
        "portals/digitale_gemeinde/client.py",
        "        for number in range(1, PAGE_LIMIT + 1):\n            page =",
        "        for number in range(1, 2):\n            page =",
        "digitale-gemeinde",
    ),
)

OF_DOCXWORLD = (
    Mutant(
        "an upload that may have arrived is sent again without a look",
        "portals/docxworld/uploads.py",
        "if self._progress.began_at and self._arrived():",
        "if False:",
        "docxworld",
    ),
    Mutant(
        "two versions of a key go by the backend's one reference",
        "portals/docxworld/orders.py",
        'return f"{own}.{hashlib',
        'return own or f"{own}.{hashlib',
        "docxworld",
    ),
    Mutant(
        "parts are kept that belong to another chunked upload",
        "portals/docxworld/progress.py",
        "return before == now and before[1] is not None",
        "return True",
        "docxworld",
    ),
    Mutant(
        "the key is exchanged after bytes have left under the one before",
        "portals/docxworld/protection.py",
        "if given is None or (own is not None and self._progress.touched):",
        "if given is None:",
        "docxworld",
    ),
    Mutant(
        "the tag is made before all parts are there",
        "portals/docxworld/parts.py",
        "return self._cipher is None or len(self._waiting) > 1 or not self._under_way",
        "return True",
        "docxworld",
    ),
    Mutant(
        "another client's download counts as acknowledged by us",
        "portals/docxworld/adapter.py",
        "return Acknowledgement(item.id, AcknowledgeOutcome.UNAVAILABLE, error.code)",
        "return Acknowledgement(item.id, AcknowledgeOutcome.DONE, error.code)",
        "docxworld",
    ),
    Mutant(
        "what docxworld cleans up after its transfer is taken for a failure",
        "portals/docxworld/tracking.py",
        "if actions & ARRIVED:",
        "if False:",
        "docxworld",
    ),
    Mutant(
        "somebody else's decision is taken for ours",
        "portals/docxworld/approvals.py",
        "if journal.state.get(ASKED) and task.approval_state == decision.approval_state and not others:",
        "if task.approval_state == decision.approval_state:",
        "docxworld",
    ),
    Mutant(
        "a rotation begins while another worker may still end the one before",
        "verbs/rotate.py",
        "        self._require_that_nobody_ends()\n        try:",
        "        try:",
        "docxworld",
    ),
    Mutant(
        "a rotation completes before AWSCURRENT is moved",
        "verbs/rotate.py",
        "        self._store(fresh)\n        return ",
        "        self._store(fresh)\n        self.rotator.complete()\n        return ",
        "docxworld",
    ),
    Mutant(
        "a new secret is asked for twice, and the older one kept",
        "verbs/rotate.py",
        "            fresh = self.rotator.begin()\n",
        "            fresh = self.rotator.begin()\n            self.rotator.complete()\n"
        "            self.rotator.begin()\n",
        "docxworld",
    ),
    Mutant(
        "a lost secret is completed blindly",
        "verbs/rotate.py",
        "        except RotationOpen:\n            return self._wait_for_the_other()\n",
        "        except RotationOpen:\n            self.rotator.complete()\n            return self._begin()\n",
        "docxworld",
    ),
)
OF_ALTINN = (
    Mutant(
        "confirmed forms come again",
        "portals/altinn/adapter.py",
        "order=OLDEST_CHANGE_FIRST, confirmed=False,",
        "order=OLDEST_CHANGE_FIRST,",
        "altinn",
    ),
    Mutant(
        "a file that is not scanned yet is fetched",
        "portals/altinn/models.py",
        "return PENDING in results and INFECTED not in results",
        "return False",
        "altinn",
    ),
    Mutant(
        "another version of a file is taken for the one that was sent",
        "portals/altinn/delivery.py",
        " and self._is_drop(instance, each, drop)",
        "",
        "altinn",
    ),
    Mutant(
        "a new form is asked for twice",
        "portals/altinn/delivery.py",
        "        if journal.state.get(ASKED):\n",
        "        if False:\n",
        "altinn",
    ),
    Mutant(
        "the process is moved on twice",
        "portals/altinn/delivery.py",
        "            if journal.state.setdefault(LEAVING, place) == place:\n",
        "            if True:\n",
        "altinn",
    ),
)

MUTANTS: Sequence[Mutant] = (*COMMON, *OF_ROUTING, *OF_DUBA, *OF_DIGITALE_GEMEINDE, *OF_ALTINN, *OF_DOCXWORLD)


def try_mutant(mutant: Mutant, seeds: int) -> Verdict:
    """Make the mistake in a copy of the package and run seeds until one complains."""
    with _mutated(mutant) as package:
        command = [sys.executable, "-m", "tests.simulation", "--until-wrong", "--seeds", str(seeds)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(package), str(ROOT)))}
        done = subprocess.run(
            [*command, "--portal", mutant.portal],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode not in (0, FOUND):
        raise RuntimeError(f"{mutant.mistake}: {done.stderr[-2000:]}")
    found = done.stdout.strip().partition(" ")
    return Verdict(mutant, int(found[0]), found[2]) if done.returncode else Verdict(mutant, None, "")


@contextmanager
def _mutated(mutant: Mutant) -> Iterator[Path]:
    """Provide a copy of the package with the mistake in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        package = Path(folder)
        shutil.copytree(PACKAGE, package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        for name, old, new in mutant.edits:
            file = package / "amtsbote" / name
            text = file.read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise ValueError(f"{mutant.mistake}: what should change stands {text.count(old)} times in {name}")
            file.write_text(text.replace(old, new), encoding="utf-8")
        yield package


def main() -> int:
    """Try all mutants, two at a time, and print what became of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="mutants whose mistake or portal contains this word")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="at most so many runs each")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    chosen = [each for each in MUTANTS if options.only in f"{each.mistake} {each.portal}"]
    survived = 0
    with ThreadPoolExecutor(options.workers) as pool:
        for verdict in pool.map(lambda mutant: try_mutant(mutant, options.seeds), chosen):
            survived += verdict.seed is None
            fate = "SURVIVED" if verdict.seed is None else f"seed {verdict.seed}: {verdict.complaint[:90]}"
            print(f"{verdict.mutant.portal:18} {verdict.mutant.mistake:62} {fate}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutants caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
