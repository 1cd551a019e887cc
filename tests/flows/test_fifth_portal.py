"""docs/add-a-portal.md is true: a portal that is nowhere in the product, made as the guide says, does what all do."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
import yaml

from amtsbote import keys, portals
from sandbox.deployment import this_machine
from sandbox.portals.faults import Fault, Kind
from sandbox.portals.server import serve
from tests.fifth_portal.recipe import PLAIN, TEMPLATE, logical, with_portal
from tests.fifth_portal.simulated import SimulatedBauamt
from tests.flows.conftest import LogLines
from tests.flows.world import Clock, World

ROOT = Path(__file__).resolve().parents[2]
FIFTH = ROOT / "tests" / "fifth_portal"
PACKAGE = FIFTH / "bauamt"
GUIDE = (ROOT / "docs" / "add-a-portal.md").read_text(encoding="utf-8")
NAME, KEY = "bauamt", "kanarienvogel-Schluessel"
PDF = b"%PDF-1.7 kanarienvogel-Inhalt"
REPLY = b"%PDF-1.7 Baugenehmigung"
REPLY_PATH = "PUT /applications/.*"
CHECK_SECONDS = 120
REPLACED = ("template.yaml", "tests", "template", "pyproject.toml", "__pycache__")
LINT_TEST = "tests/template/test_lint.py"  # is run by itself
LEAST_INVARIANTS = 300  # of tests/template hold without the other portals


def snippets(language: str) -> list[tuple[str, str]]:
    """Return the guide's blocks of a language: (file, text)."""
    return re.findall(rf"^```{language} (\S+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def drop_rules() -> tuple[str, ...]:
    """Return the drop rules as the guide registers them."""
    (entry,) = [text for file, text in snippets("python") if file.endswith("/keys.py")]
    rules: dict[str, tuple[str, ...]] = ast.literal_eval(f"{{{entry}}}")
    return rules[NAME]


# --- the flows ---


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the package where the guide puts it, and register it as the guide does."""
    monkeypatch.setattr(portals, "__path__", [*portals.__path__, str(FIFTH)])
    monkeypatch.setattr(portals, "NAMES", (*portals.NAMES, NAME))
    monkeypatch.setitem(keys.DROP_RULES, NAME, drop_rules())
    yield
    for module in [each for each in sys.modules if each.startswith(f"{portals.__name__}.{NAME}")]:
        del sys.modules[module]


@pytest.fixture
def bauamt(clock: Clock) -> Iterator[SimulatedBauamt]:
    """Provide a simulated Bauamt, reachable over HTTP."""
    portal = SimulatedBauamt(KEY, clock=clock)
    with serve(portal):
        yield portal


@pytest.fixture
def world(bauamt: SimulatedBauamt, clock: Clock) -> World:
    """Provide a world with one connection, `stadt`."""
    world = World(NAME, clock=clock)
    world.connect("stadt", {"baseUrl": bauamt.base_url, "apiKey": KEY})
    return world


def test_documents_arrive_once_and_are_acknowledged(bauamt: SimulatedBauamt, world: World) -> None:
    ids = [bauamt.add_application(PDF) for _ in range(5)]  # three pages
    world.settle()
    world.later(hours=2)
    assert world.received("stadt") == set(ids)
    for id_ in ids:
        (file,) = world.document("stadt", id_)["files"]
        assert (file["name"], file["contentType"]) == (f"application-{id_}.pdf", "application/pdf")
        assert world.content(file["key"]) == PDF
        assert world.state("stadt", id_) == "ACKNOWLEDGED"
        assert (bauamt.submitted(id_).downloads, bauamt.submitted(id_).confirmations) == (1, 1)


def test_nothing_is_confirmed_before_it_is_stored(bauamt: SimulatedBauamt, world: World) -> None:
    id_ = bauamt.add_application()
    bauamt.faults.add(Fault(Kind.HTML_WITH_200, "GET /applications/.*/file", times=1))
    world.tick("poll")
    world.drain()
    world.tick("acknowledge")
    world.drain()
    assert (world.received("stadt"), bauamt.submitted(id_).confirmations) == (set(), 0)
    world.later(hours=2, rounds=2)
    assert (world.received("stadt"), bauamt.submitted(id_).confirmations) == ({id_}, 1)


def test_a_lost_confirmation_is_repeated(bauamt: SimulatedBauamt, world: World) -> None:
    id_ = bauamt.add_application()
    bauamt.faults.add(Fault(Kind.LOST_ANSWER, "POST /applications/.*", times=1))
    world.settle()
    world.later(hours=2, rounds=2)
    assert world.state("stadt", id_) == "ACKNOWLEDGED"


def test_what_vanishes_at_the_portal_is_told(bauamt: SimulatedBauamt, world: World) -> None:
    id_ = bauamt.add_application()
    world.tick("poll")
    world.run("dispatch")
    world.run("poll")
    bauamt.withdraw(id_)
    world.drain()
    assert [each["id"] for each in world.events_of("Document Unavailable")] == [id_]


def test_a_drop_is_delivered_once_and_followed_to_its_end(bauamt: SimulatedBauamt, world: World) -> None:
    id_ = bauamt.add_application()
    key = f"{NAME}/stadt/{id_}/Bescheid.pdf"
    bauamt.faults.add(Fault(Kind.LOST_ANSWER, REPLY_PATH, times=1))
    event = world.drop(key, REPLY)
    world.drain()
    world.later(hours=2)
    assert world.receipt(key)["status"] == "IN_PROGRESS"
    bauamt.move_replies("SENT")
    world.later("track", hours=1)
    world.arrive(event)
    world.drain()
    (reply,) = bauamt.replies
    assert (reply.application_id, reply.name, reply.content) == (id_, "Bescheid.pdf", REPLY)
    receipt = world.receipt(key)
    assert (receipt["status"], receipt["portalId"], receipt["error"]) == ("DELIVERED", reply.id, None)


def test_a_reply_that_comes_back_has_failed(bauamt: SimulatedBauamt, world: World) -> None:
    key = f"{NAME}/stadt/{bauamt.add_application()}/Bescheid.pdf"
    world.drop(key, REPLY)
    world.drain()
    bauamt.move_replies("RETURNED")
    world.later("track", hours=1)
    assert (world.receipt(key)["status"], world.receipt(key)["error"]["code"]) == ("FAILED", "RETURNED")


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("stadt/Bescheid.pdf", REPLY, "KEY_FITS_NO_RULE"),
        ("nirgends/2026-1/Bescheid.pdf", REPLY, "UNKNOWN_CONNECTION"),
        ("stadt/2026-99/Bescheid.pdf", REPLY, "NO_SUCH_APPLICATION"),
        ("stadt/2026-1/Bescheid.pdf", b"", "REPLY_SIZE"),
    ],
)
def test_a_drop_that_can_never_arrive_fails_at_once(
    bauamt: SimulatedBauamt, world: World, path: str, body: bytes, code: str
) -> None:
    bauamt.add_application()
    world.drop(f"{NAME}/{path}", body)
    world.drain()
    receipt = world.receipt(f"{NAME}/{path}")
    assert (receipt["status"], receipt["error"]["code"]) == ("FAILED", code)
    assert bauamt.replies == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("apiKey", ""), ("baseUrl", "ftp://kanarienvogel"), ("apiKye", "kanarienvogel"), ("acknowledge", "kanarienvogel")],
)
def test_a_bad_secret_is_told_by_its_field_and_without_its_value(
    bauamt: SimulatedBauamt, world: World, log_lines: LogLines, field: str, value: str
) -> None:
    world.connect("kaputt", {"baseUrl": bauamt.base_url, "apiKey": KEY} | {field: value})
    id_ = bauamt.add_application()
    world.settle()
    told = [(each["connection"], each["code"]) for each in world.events_of("Connection Unhealthy")]
    assert told == [("kaputt", "SECRET_INVALID")]
    assert f"kaputt: {field}" in log_lines.text
    assert "kanarienvogel" not in log_lines.text
    assert world.received("stadt") == {id_}, "the other connection goes on"


def test_a_refused_login_is_told_and_nothing_else_is_tried(
    bauamt: SimulatedBauamt, world: World, log_lines: LogLines
) -> None:
    bauamt.add_application()
    world.connect("stadt", {"baseUrl": bauamt.base_url, "apiKey": "kanarienvogel-falsch"})
    world.settle(rounds=1)
    told = [(each["connection"], each["code"]) for each in world.events_of("Connection Unhealthy")]
    assert told == [("stadt", "LOGIN_REFUSED")]
    assert "kanarienvogel" not in log_lines.text
    assert {request.path for request in bauamt.requests} == {"/applications"}


# --- what the guide shows ---


@pytest.mark.parametrize(("file", "text"), snippets("python"))
def test_the_code_in_the_guide_is_the_code_that_runs_here(file: str, text: str) -> None:
    if file.startswith(("bauamt/", "tests/fifth_portal/")):
        path = FIFTH / file if file.startswith("bauamt/") else ROOT / file
        assert text in path.read_text(encoding="utf-8")
    else:  # a line to add to a file of the product
        assert (ROOT / file).exists()
        assert NAME in text.lower()


def test_the_guide_shows_every_file_of_the_package() -> None:
    shown = {file for file, _ in snippets("python")}
    assert {f"bauamt/{path.name}" for path in PACKAGE.glob("*.py")} <= shown


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:docs|layers|sandbox|tests|tools)/[^`<\s]*)`", GUIDE))))
def test_each_path_in_the_guide_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: str(path.name))
def test_the_package_needs_nothing_but_what_the_guide_names(path: Path) -> None:
    named = set(re.findall(r"`(amtsbote(?:\.\w+)*|pydantic)`", GUIDE))
    assert imported(path) - named - set(sys.stdlib_module_names) == set()


def imported(path: Path) -> set[str]:
    """Return the modules outside its own package that a file imports; of other packages than ours the top one."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    names = {f"amtsbote.{a.name}" for node in froms if node.module == "amtsbote" for a in node.names}
    names |= {node.module for node in froms if node.module and node.module != "amtsbote"}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name if name.startswith("amtsbote.") else name.partition(".")[0] for name in names}


def test_the_guide_names_every_file_of_the_product_that_names_a_portal() -> None:
    package = ROOT / "layers" / "amtsbote" / "amtsbote"
    shared = [*package.glob("*.py"), *package.glob("verbs/*.py"), *package.glob("portals/*.py")]
    others = [*ROOT.glob("functions/*/*.py"), ROOT / "sandbox" / "deployment.py", TEMPLATE]
    naming = [path for path in [*shared, *others] if re.search(mentions(PLAIN), path.read_text(encoding="utf-8"))]
    assert [path for path in naming if f"`{path.relative_to(ROOT)}`" not in GUIDE] == []


def mentions(portal: str) -> str:
    """Return a pattern for code that names a portal."""
    return rf"{logical(portal)}|[\"']{portal}\b|[/: ]{portal}/"


# --- the template ---


@cache
def template() -> str:
    """Return the template with the fifth portal, made by the recipe."""
    return with_portal(TEMPLATE.read_text(encoding="utf-8"), NAME)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a checkout with the fifth portal in its template, and in the tests of it as the guide says."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "tests").mkdir()
    for path in (*ROOT.iterdir(), *(ROOT / "tests").iterdir()):
        if path.name not in REPLACED and not path.name.startswith("."):
            (folder / path.relative_to(ROOT)).symlink_to(path)
    (folder / "template.yaml").write_text(template(), encoding="utf-8")
    shutil.copytree(ROOT / "tests" / "template", folder / "tests" / "template", ignore=lambda *_: ["__pycache__"])
    for path in (folder / "tests" / "template").glob("*.py"):
        path.write_text(with_name_in_lists(path.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


def portals_of(template_file: Path) -> set[str]:
    """Return the portals that have functions."""
    return set(re.findall(r"AMTSBOTE_PORTAL: (\S+)", template_file.read_text(encoding="utf-8"))) - {"unrouted", "all"}


def with_name_in_lists(source: str) -> str:
    """Add the fifth portal wherever a file of tests lists all the others."""
    all_names = portals_of(TEMPLATE)

    def extended(found: re.Match[str]) -> str:
        names = set(re.findall(r"[\w-]+", found[0]))
        return f'{found[0]}, "{NAME}"' if names >= all_names else found[0]

    return re.sub(r'"[a-z-]+"(?:, "[a-z-]+")+', extended, source)


def commands(checkout: Path) -> dict[str, list[str]]:
    """Return what checks the new template; what the tests say of the other portals' functions is left out."""
    others = " and ".join(f"not {logical(name)}Function" for name in sorted(portals_of(TEMPLATE)))
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    return {
        "cfn-lint": [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "W", "--", "template.yaml"],
        "invariants": [*pytest_, f"--rootdir={checkout}", "tests/template", f"--ignore={LINT_TEST}", "-k", others],
    }


@contextmanager
def started(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a checkout, and end it with the context."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AWS_"))}
    path = os.pathsep.join(map(str, (folder, folder / "layers" / "amtsbote")))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=inherited | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        yield process
        process.kill()


def test_the_template_of_the_recipe_passes_the_checks_of_ours(checkout: Path) -> None:
    with ExitStack() as stack:  # side by side, because each takes seconds
        running = {n: stack.enter_context(started(c, checkout)) for n, c in commands(checkout).items()}
        said = {name: process.communicate(timeout=CHECK_SECONDS)[0] for name, process in running.items()}
        failed = {name: said[name][-3000:] for name, process in running.items() if process.returncode}
    assert not failed
    assert said["cfn-lint"] == ""
    assert int(re.findall(r"(\d+) passed", said["invariants"])[-1]) > LEAST_INVARIANTS


def test_as_many_lines_name_the_new_portal_as_the_one_it_was_copied_from() -> None:
    before = TEMPLATE.read_text(encoding="utf-8")
    for old, new in ((PLAIN, NAME), (logical(PLAIN), logical(NAME))):
        assert lines_with(new, template()) == lines_with(old, template()) == lines_with(old, before)


def lines_with(name: str, text: str) -> int:
    """Return what `grep -c` counts."""
    return sum(name in line for line in text.splitlines())


def test_a_portal_whose_login_is_signed_gets_its_layer_from_the_portal_it_is_copied_from() -> None:
    before, layer = TEMPLATE.read_text(encoding="utf-8"), "Layers: [!Ref CryptographyLayer]"
    assert template().count(layer) == before.count(layer)
    of_others = 1  # docxworld's deliver encrypts
    assert with_portal(before, NAME, like="altinn").count(layer) == 2 * before.count(layer) - of_others


@pytest.mark.parametrize(("file", "text"), snippets("yaml"))
def test_the_yaml_in_the_guide_is_what_the_recipe_makes(file: str, text: str) -> None:
    assert file == "template.yaml"
    assert text in template()
    assert text not in TEMPLATE.read_text(encoding="utf-8")


def test_the_recipe_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="is there already"):
        with_portal(template(), NAME)
    with pytest.raises(ValueError, match="0 places"):
        with_portal(template(), "another", like="nobody")


def test_the_machine_of_the_sandbox_needs_the_line_that_the_guide_names() -> None:
    (line,) = [text for file, text in snippets("python") if file == "sandbox/deployment.py"]
    parameters = {name for name in yaml_parameters(template()) if name.endswith("MaximumConcurrency")}
    missing = parameters - this_machine().keys() - {"UnroutedMaximumConcurrency"}
    assert missing == {f"{logical(NAME)}MaximumConcurrency"}
    assert line.strip() == f'"{logical(NAME)}MaximumConcurrency": FEW,'


def yaml_parameters(text: str) -> list[str]:
    """Return the names of a template's parameters."""
    section = text.partition("\nParameters:\n")[2].partition("\nMappings:\n")[0]
    return list(yaml.safe_load(re.sub(r"!\w+", "", section)))
