"""From what is wanted and what is there to the steps between: properties over random files, and single stories."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from amtsbote.admin import steps
from amtsbote.admin.actual import Actual
from amtsbote.admin.plan import Plan, plan
from amtsbote.admin.wanted import SCHEMA, Wanted, wanted_of
from tests.unit.admin.model import done, uuid_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXAMPLES = 40  # random files per property: each is large
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)  # shrinking a whole file takes minutes and tells little
LATER = [NOW + timedelta(days=days) for days in (-3, 1, 2, 40)]
REMOVALS = (
    steps.DeleteAccess,
    steps.RetractRole,
    steps.RemoveContracts,
    steps.RemoveTargets,
)
PLACES = {"Klinikum": {"1": ["1-a", "1-b"], "2": ["2-a"]}, "Kreis": {"3": ["3-a", "3-b"]}}
"""Where each number belongs: docxworld gives each once, so that a random file must not move them about."""

COMPANY_OF = {contract: name for name, numbers in PLACES.items() for each in numbers.values() for contract in each}
WORKFLOWS = {"W1": "1-a", "W2": "2-a", "W3": "3-b"}
STATUSES = st.sampled_from(["ACTIVE", "INACTIVE"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return tables of the file; a field that is None is not in it."""
    tables = st.fixed_dictionaries(fields)
    return tables.map(lambda each: {k.replace("_", "-"): v for k, v in each.items() if v is not None})


def some(names: Any, of: Any, at_least: int = 0) -> st.SearchStrategy[list[Any]]:
    """Return lists of what `of` makes of some of the names."""
    chosen = st.lists(st.sampled_from(sorted(names)), unique=True, min_size=at_least)
    return chosen.flatmap(lambda found: st.tuples(*map(of, found)).map(list))


STATES = maybe(
    st.dictionaries(st.sampled_from(LATER), STATUSES).map(
        lambda found: [{"state": state, "from": begin} for begin, state in found.items()]
    )
)


def contract(number: str) -> st.SearchStrategy[dict[str, Any]]:
    text = maybe(st.sampled_from(["", "Tagespost"]))
    return record(number=st.just(number), description=text, status=maybe(STATUSES), states=STATES)


def company(name: str) -> st.SearchStrategy[dict[str, Any]]:
    def number(wanted: str) -> st.SearchStrategy[dict[str, Any]]:
        listed = some(PLACES[name][wanted], contract, at_least=len(PLACES[name][wanted]))
        return record(number=st.just(wanted), status=maybe(STATUSES), states=STATES, contracts=listed)

    spelled = st.sampled_from([name, name.upper()])
    numbers = some(PLACES[name], number, at_least=len(PLACES[name]))
    return record(name=spelled, technical_access_limit=maybe(st.integers(0, 3)), customer_numbers=numbers)


def workflow(abbreviation: str) -> st.SearchStrategy[dict[str, Any]]:
    return record(
        abbreviation=st.sampled_from([abbreviation, abbreviation.lower()]),
        name=st.just(f"Workflow {abbreviation}") | st.just(f"Neuer {abbreviation}"),
        contract=st.just(WORKFLOWS[abbreviation]),
        description=maybe(st.sampled_from(["", "Briefe"])),
        approval_needed=maybe(st.booleans()),
        escalation_days=maybe(st.integers(0, 2)),
        status=maybe(STATUSES),
    )


def access(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return record(
        name=st.just(name),
        company=st.just("Klinikum"),
        roles=st.just(["customer-uploader"]),
        status=maybe(STATUSES),
        secret=maybe(st.just(f"amtsbote/docxworld/{name}")),
    )


def user(email: str) -> st.SearchStrategy[dict[str, Any]]:
    contracts = maybe(st.lists(st.sampled_from(sorted(COMPANY_OF)), unique=True))
    targets = maybe(st.lists(st.sampled_from(sorted(WORKFLOWS)), unique=True))
    roles: Any = {
        "ROLE_CUSTOMER_ADMIN": record(contracts=contracts),
        "ROLE_CUSTOMER_UPLOADER": record(targets=targets),
        "ROLE_CUSTOMER_USER": st.just({}),
    }
    return record(
        email=st.sampled_from([email, email.upper()]),
        first_name=maybe(st.sampled_from(["Ada", "Eva"])),
        company=st.just("Klinikum"),
        status=maybe(STATUSES),
        roles=maybe(st.fixed_dictionaries({}, optional=roles)),
    )


notification = record(mode=st.just("SELECTED"), targets=st.lists(st.sampled_from(sorted(WORKFLOWS)), unique=True))

files = record(
    schema=st.just(SCHEMA),
    companies=some(PLACES, company, at_least=2),
    workflows=some(WORKFLOWS, workflow, at_least=3),
    technical_access=maybe(some(["spooler", "archiv"], access)),
    users=maybe(some(["a@example.com", "b@example.com"], user)),
    settings=maybe(record(approval_success_notification=maybe(notification))),
).map(lambda content: wanted_of(content, "a random file"))


def after(wanted: Wanted, actual: Actual, *, prune: bool = False) -> Actual:
    """Return the state after a plan that meets no obstacle."""
    found = plan(wanted, actual, NOW, prune=prune)
    assert found.obstacles == ()
    return done(actual, found.steps, NOW)


@settings(max_examples=EXAMPLES, deadline=None, phases=QUICK)
@given(files, files, st.booleans())
def test_after_a_plan_nothing_is_left_to_do(before: Wanted, wanted: Wanted, prune: bool) -> None:
    there = after(before, Actual())
    assert plan(wanted, after(wanted, there, prune=prune), NOW, prune=prune) == Plan()


@settings(max_examples=EXAMPLES, deadline=None, phases=QUICK)
@given(files, files, st.booleans(), st.data())
def test_a_plan_that_stopped_anywhere_can_be_gone_on_with(
    before: Wanted, wanted: Wanted, prune: bool, data: st.DataObject
) -> None:
    there = after(before, Actual())
    found = plan(wanted, there, NOW, prune=prune)
    stopped = done(there, found.steps[: data.draw(st.integers(0, len(found.steps)))], NOW)
    assert plan(wanted, after(wanted, stopped, prune=prune), NOW, prune=prune) == Plan()


@settings(max_examples=EXAMPLES, deadline=None, phases=QUICK)
@given(files, files)
def test_without_prune_nothing_is_taken_away(before: Wanted, wanted: Wanted) -> None:
    found = plan(wanted, after(before, Actual()), NOW)
    assert not [step for step in found.steps if isinstance(step, REMOVALS)]


@settings(max_examples=EXAMPLES, deadline=None, phases=QUICK)
@given(files, files)
def test_pruning_never_switches_the_account_itself_off(before: Wanted, wanted: Wanted) -> None:
    there = after(before, Actual())
    for own in there.users:
        found = plan(wanted, replace(there, own_id=own.id), NOW, prune=True).steps
        listed = {each.email.casefold() for each in wanted.users or ()}
        mine = [step for step in found if isinstance(step, steps.SetUserStatus | steps.RetractRole)]
        assert (own.email or "").casefold() in listed or not [each for each in mine if each.email == own.email]
        assert not [each for each in mine if isinstance(each, steps.RetractRole) and each.email == own.email]


@settings(max_examples=EXAMPLES, deadline=None, phases=QUICK)
@given(files)
def test_a_lost_secret_is_renewed_where_the_file_names_its_place(wanted: Wanted) -> None:
    there = replace(after(wanted, Actual()), held={})
    found = plan(wanted, there, NOW)
    places = [each.secret for each in wanted.technical_access or () if each.secret]
    assert [step.secret for step in found.steps if isinstance(step, steps.RenewSecret)] == places
    assert plan(wanted, done(there, found.steps, NOW), NOW) == Plan()


# --- single stories --------------------------------------------------------------------------------------------------


def a_file(**parts: Any) -> Wanted:
    return wanted_of({"schema": SCHEMA, **parts}, "a file")


CONTRACT = {"number": "1-a", "status": "ACTIVE"}
KLINIKUM = {"name": "Klinikum", "customer-numbers": [{"number": "1", "status": "ACTIVE", "contracts": [CONTRACT]}]}
POST = {"abbreviation": "POST", "name": "Tagespost", "contract": "1-a"}
SPOOLER = {"name": "spooler", "company": "Klinikum", "roles": ["customer-uploader"], "secret": "amtsbote/docxworld/k"}
FRIDA = {"email": "frida@example.com", "company": "Klinikum", "roles": {"customer-approver": {"targets": ["POST"]}}}


def says(found: Plan) -> list[str]:
    return [str(step) for step in found.steps]


def test_what_needs_something_comes_after_it() -> None:
    wanted = a_file(**{"companies": [KLINIKUM], "workflows": [POST], "technical-access": [SPOOLER], "users": [FRIDA]})
    assert says(plan(wanted, Actual(), NOW)) == [
        "create company Klinikum with customer number 1 (contract 1-a)",
        "create workflow POST (Tagespost) on contract 1-a",
        "create technical access spooler of Klinikum for ROLE_CUSTOMER_UPLOADER, "
        "its login kept in the secret amtsbote/docxworld/k",
        "create user frida@example.com of Klinikum",
        "give user frida@example.com ROLE_CUSTOMER_APPROVER",
        "add target POST to ROLE_CUSTOMER_APPROVER of user frida@example.com",
    ]


def there(**parts: Any) -> Actual:
    return after(a_file(companies=[KLINIKUM], **parts), Actual())


def test_a_state_that_has_ended_is_not_begun_anew() -> None:
    """The contract was to end, and has: `status` spoke of the time before."""
    ended = {**CONTRACT, "states": [{"state": "INACTIVE", "from": LATER[1]}]}
    wanted = a_file(companies=[{**KLINIKUM, "customer-numbers": [{"number": "1", "contracts": [ended]}]}])
    assert says(plan(wanted, there(), NOW)) == ["make contract 1-a INACTIVE from 2026-03-02T12:00:00.000Z"]
    assert says(plan(wanted, there(), LATER[1])) == ["make contract 1-a INACTIVE from now"]


def test_a_later_state_that_is_in_the_way_is_deleted_first() -> None:
    def wants(state: str) -> Wanted:
        ends = {**CONTRACT, "states": [{"state": state, "from": LATER[1]}]}
        return a_file(companies=[{**KLINIKUM, "customer-numbers": [{"number": "1", "contracts": [ends]}]}])

    found = plan(wants("ACTIVE"), after(wants("INACTIVE"), there()), NOW)
    assert [type(step) for step in found.steps] == [steps.DeleteStates, steps.AddStates]


def test_pruning_touches_only_the_companies_that_the_file_names() -> None:
    strangers = there(users=[{"email": "x@example.com", "company": "Klinikum"}])
    foreign = replace(strangers, users=(strangers.users[0].model_copy(update={"company_id": uuid_of("company", "X")}),))
    assert plan(a_file(companies=[KLINIKUM], users=[]), foreign, NOW, prune=True) == Plan()
    assert says(plan(a_file(companies=[KLINIKUM], users=[]), strangers, NOW, prune=True)) == [
        "set user x@example.com INACTIVE"
    ]


def test_pruning_leaves_alone_what_the_file_has_no_list_of() -> None:
    full = there(**{"workflows": [POST], "technical-access": [SPOOLER], "users": [FRIDA]})
    assert plan(a_file(companies=[{"name": "Klinikum"}]), full, NOW, prune=True) == Plan()


def test_pruning_switches_off_and_deletes_in_the_order_of_need() -> None:
    full = there(**{"workflows": [POST], "technical-access": [SPOOLER], "users": [FRIDA]})
    less = {"workflows": [], "technical-access": [], "users": [{**FRIDA, "roles": {}}]}
    wanted = a_file(companies=[{"name": "Klinikum", "customer-numbers": []}], **less)
    assert [type(step).__name__ for step in plan(wanted, full, NOW, prune=True).steps] == [
        "DeleteAccess",
        "RetractRole",
        "SetWorkflowStatus",
        "AddStates",
    ]


@pytest.mark.parametrize(
    ("parts", "obstacle"),
    [
        ({"companies": [{"name": "Neu"}]}, "company Neu does not exist, and a new one needs a customer number"),
        ({"companies": [{"name": "Neu", "customer-numbers": [{"number": "1"}]}]}, "customer number 1 belongs"),
        ({"workflows": [{**POST, "contract": "2-a"}]}, "workflow POST: the contract is 1-a"),
        ({"workflows": [{**POST, "external-receiver": "https://x"}]}, "workflow POST: the external receiver"),
        ({"technical-access": [{**SPOOLER, "roles": ["customer-approver"]}]}, "technical access spooler: the roles"),
        ({"technical-access": [{**SPOOLER, "name": "archiv"}]}, "keeps the login of another technical access"),
        ({"technical-access": [{**SPOOLER, "company": "Nirgends"}]}, "there is no company Nirgends"),
        ({"users": [{**FRIDA, "company": uuid_of("company", "X")}]}, "user frida@example.com: the company is"),
        ({"users": [{**FRIDA, "roles": {"customer-approver": {"targets": ["NIE"]}}}]}, "there is no target NIE"),
    ],
)
def test_what_docxworld_cannot_do_is_an_obstacle(parts: dict[str, Any], obstacle: str) -> None:
    full = there(**{"workflows": [POST], "technical-access": [SPOOLER], "users": [FRIDA]})
    assert any(obstacle in said for said in plan(a_file(**parts), full, NOW).obstacles)


def test_two_technical_accesses_of_one_name_are_an_obstacle() -> None:
    full = there(**{"technical-access": [SPOOLER]})
    twice = replace(full, accesses=full.accesses * 2)
    found = plan(a_file(**{"technical-access": [SPOOLER]}), twice, NOW)
    assert found == Plan(obstacles=("Klinikum has 2 technical accesses called spooler",))


def test_an_open_rotation_is_ended_before_a_secret_is_renewed() -> None:
    full = there(**{"technical-access": [SPOOLER]})
    rotating = full.accesses[0].model_copy(update={"rotation_in_progress": True})
    found = plan(a_file(**{"technical-access": [SPOOLER]}), replace(full, accesses=(rotating,), held={}), NOW)
    assert found.steps == (steps.RenewSecret("Klinikum", "spooler", "amtsbote/docxworld/k", rotating=True),)
