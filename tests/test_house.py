"""Holds the rules that no linter knows: sizes, names, clocks, vendors, parity of folders and registries."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enalysis.connectors.registry import CONNECTORS
from enalysis.simulators.registry import SIMULATORS

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "enalysis"
TESTS = ROOT / "tests"

LONGEST_FILE = 400
LONGEST_FUNCTION = 60
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "manager", "data"}
# `base` says nothing, except as the contract file of a family of plug-ins.
BASE_ALLOWED_IN = {"connectors", "feeds", "notifiers"}
SHARED_CONNECTOR_FILES = {
    "__init__",
    "base",
    "calls",
    "http",
    "modbus",
    "oauth",
    "registry",
    "values",
    "verdicts",
    "wire",
}
# Companies and products of the field, whether a connector for them exists yet or not.
KNOWN_VENDORS = {
    "enphase",
    "fronius",
    "fusionsolar",
    "growatt",
    "huawei",
    "powerwall",
    "sma",
    "solaredge",
    "tesla",
}
VENDORS = KNOWN_VENDORS | set(CONNECTORS) | set(SIMULATORS)
# The edges: what runs there is started by a person or a timer, and says to the rest what time it is.
CLOCK_READERS = {"runtime", "jobs", "web", "cli", "log", "config"}
CLOCKS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
}
# In pieces, so that this file does not contain what it looks for.
LEAKS = [
    "/wo" + r"rk/(main|shared|steering|\.lib)",
    "/r" + "oot/",
    "/fa" + "rm/",
    "/op" + "t/(pypi|wheels)",
    "py" + r"pi\.org",
    "python" + "hosted",
    "registry.npm" + r"js",
    "deb.deb" + r"ian\.org",
]


def python_files(*folders: Path) -> list[Path]:
    """Return every Python file below the folders, sorted."""
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def named(path: Path) -> str:
    """Return the path as a reader of a failing test wants it."""
    return path.relative_to(ROOT).as_posix()


def project_files() -> list[Path]:
    """Return every file that is, or is about to be, committed."""
    git = shutil.which("git")
    assert git, "git is needed to tell the project's files from what lies beside them"
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


def long_functions(tree: ast.Module) -> Iterator[str]:
    """Yield each function that is longer than the house allows, with its length in lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{node.name} is {lines} lines"


def lazy_imports(tree: ast.Module) -> Iterator[str]:
    """Yield each import that stands inside a function, where it would hide a cycle."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield f"line {node.lineno}: an import inside {function.name}"


def clock_reads(tree: ast.Module) -> Iterator[str]:
    """Yield each place that reads the wall clock, or takes hold of the function that does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if (owner, node.attr) in CLOCKS:
                yield f"line {node.lineno}: {owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            for alias in node.names:
                if ("time", alias.name) in CLOCKS:
                    yield f"line {node.lineno}: from time import {alias.name}"


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Yield the full name of everything the module imports; relative imports are refused elsewhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_packages(path: Path) -> set[str]:
    """Return the top-level name of everything a file imports."""
    return {name.split(".")[0] for name in imported_modules(ast.parse(path.read_text(encoding="utf-8")))}


def missing_docstring(tree: ast.Module) -> Iterator[str]:
    """Yield a complaint if the module holds something and does not begin by saying what."""
    if tree.body and ast.get_docstring(tree) is None:
        yield "the module has no docstring"


def found_in(check: Callable[[ast.Module], Iterator[str]], paths: list[Path]) -> list[str]:
    """Run one check over many files and return its findings, each with its file."""
    return [
        f"{named(path)}: {finding}"
        for path in paths
        for finding in check(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
    ]


@pytest.mark.parametrize(
    ("check", "bad"),
    [
        (long_functions, "def f():\n" + "    x = 1\n" * LONGEST_FUNCTION),
        (lazy_imports, "async def f():\n    if x:\n        from a import b\n"),
        (clock_reads, "import datetime as d\nd.datetime.now()\n"),
        (clock_reads, "from datetime import datetime\nclock = datetime.utcnow\n"),
        (clock_reads, "import time\ntime.time()\n"),
        (clock_reads, "from time import time\n"),
        (missing_docstring, "import os\n"),
    ],
)
def test_each_check_finds_what_it_is_for(check: Callable[[ast.Module], Iterator[str]], bad: str) -> None:
    assert list(check(ast.parse(bad)))


def test_there_is_something_to_check() -> None:
    assert len(python_files(SRC)) > 20
    assert named(Path(__file__)) in {named(path) for path in project_files()}


def test_no_file_is_too_long() -> None:
    lengths = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files(SRC, TESTS)}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    assert found_in(long_functions, python_files(SRC, TESTS)) == []


def test_no_import_hides_in_a_function() -> None:
    assert found_in(lazy_imports, python_files(SRC, TESTS)) == []


def test_every_module_says_what_it_holds() -> None:
    assert found_in(missing_docstring, python_files(SRC, TESTS)) == []


def test_only_the_edges_read_the_clock() -> None:
    inner = [
        path for path in python_files(SRC) if path.relative_to(SRC).parts[0].removesuffix(".py") not in CLOCK_READERS
    ]
    assert found_in(clock_reads, inner) == []


def test_core_needs_nothing_but_the_standard_library() -> None:
    strangers = {
        f"{named(path)} imports {package}"
        for path in python_files(SRC / "core")
        for package in imported_packages(path)
        if package not in sys.stdlib_module_names and package != "enalysis"
    }
    assert strangers == set()


def test_only_store_imports_psycopg() -> None:
    importers = {named(path) for path in python_files(SRC) if {"psycopg", "psycopg_pool"} & imported_packages(path)}
    assert importers, "store is expected to import psycopg: has this check gone blind?"
    assert {name for name in importers if not name.startswith("src/enalysis/store/")} == set()


def test_no_module_has_a_name_that_says_nothing() -> None:
    wrong = []
    for path in python_files(SRC, TESTS):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if FORBIDDEN_NAMES & set(parts) or (parts[-1] == "base" and parts[-2] not in BASE_ALLOWED_IN):
            wrong.append(named(path))
    assert wrong == []


def may_name(path: Path, vendor: str) -> bool:
    """Whether a file of the package is one of those in which this vendor may be named."""
    package, *rest = path.relative_to(SRC).parts
    if package not in {"connectors", "simulators"} or not rest:
        return False
    stem = rest[0].removesuffix(".py")
    return stem == "registry" or vendor in owners({stem})


def test_a_vendor_is_named_only_in_its_own_files() -> None:
    wrong = []
    sources = [path for path in project_files() if path.is_relative_to(SRC)]
    assert sources
    for vendor in sorted(VENDORS):
        # `sma` alone is a vendor, in `small` it is not.
        pattern = re.compile(rf"(?<![a-z0-9]){vendor}(?![a-z0-9])", re.IGNORECASE)
        for path in sources:
            if may_name(path, vendor):
                continue
            if pattern.search(path.name):
                wrong.append(f"{named(path)}: the name of the file names {vendor}")
            wrong += [
                f"{named(path)}:{number}: {vendor}"
                for number, line in enumerate(text_lines(path), start=1)
                if pattern.search(line)
            ]
    assert wrong == []


def text_lines(path: Path) -> list[str]:
    """Return the lines of a text file; a picture or another binary file has none."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def stems_of(package: str) -> set[str]:
    """Return the names of the modules and of the folders of modules that a package holds."""
    folder = SRC / package
    return {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/*.py")}


def owners(stems: set[str]) -> set[str]:
    """Return the vendors to which files of these names belong; `x_parts` is a part of vendor `x`."""
    return {vendor for vendor in VENDORS for stem in stems if stem == vendor or stem.startswith(vendor + "_")}


def strangers_among(package: str) -> Iterator[str]:
    """Yield each import by which one vendor's file reaches into another's."""
    for path in python_files(SRC / package):
        stem = path.relative_to(SRC / package).parts[0].removesuffix(".py")
        if stem == "registry":
            continue
        for name in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            reached = name.removeprefix(f"enalysis.{package}.").split(".")[0]
            if name.startswith(f"enalysis.{package}.") and owners({reached}) - owners({stem}):
                yield f"{named(path)} imports {name}"


@pytest.mark.parametrize("package", ["connectors", "simulators"])
def test_vendors_do_not_know_one_another(package: str) -> None:
    assert list(strangers_among(package)) == []


def test_every_vendor_has_all_its_parts() -> None:
    vendors = set(CONNECTORS)
    tests = TESTS / "connectors"
    assert vendors, "no vendor is registered"
    assert set(SIMULATORS) == vendors
    assert owners(stems_of("connectors")) == vendors
    assert owners(stems_of("simulators")) == vendors
    assert {stem for stem in stems_of("connectors") if not owners({stem})} <= SHARED_CONNECTOR_FILES
    assert {path.stem for path in (ROOT / "docs" / "connectors").glob("*.md")} == vendors
    assert {path.name for path in (tests / "payloads").iterdir() if path.is_dir()} == vendors
    assert {vendor for vendor in vendors if not (tests / f"test_{vendor}.py").is_file()} == set()


def test_every_ignored_rule_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    ignored = {*lint["ignore"], *(code for codes in lint["per-file-ignores"].values() for code in codes)}
    reasoned = {
        match["code"]
        for line in text.splitlines()
        if (match := re.fullmatch(r'\s+"(?P<code>[A-Z]+[0-9]*)",?\s+# \S.{10,}', line))
    }
    bare = [line.strip() for line in text.splitlines() if re.fullmatch(r'\s+"[A-Z]+[0-9]+",?\s*', line)]
    assert ignored
    assert ignored - reasoned == set()
    assert bare == []


def test_no_line_names_a_package_host_or_a_path_of_one_machine() -> None:
    pattern = re.compile("|".join(LEAKS))
    leaks = [
        f"{named(path)}:{number}"
        for path in project_files()
        for number, line in enumerate(text_lines(path), start=1)
        if pattern.search(line)
    ]
    assert leaks == []


@pytest.mark.parametrize("source", ["registry.npm" + "js.org", "/wo" + "rk/main/x", "https://py" + "pi.org/simple"])
def test_the_leak_patterns_find_leaks(source: str) -> None:
    assert re.search("|".join(LEAKS), source)


def test_secrets_are_kept_out_of_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".env", ".env.*", "!.env.example"} <= set(ignored)
    assert {path.name for path in project_files() if path.name.startswith(".env")} <= {".env.example"}


def test_every_locked_package_carries_hashes() -> None:
    for lock in (ROOT / "requirements.lock", ROOT / "assets" / "node.lock"):
        entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8"))
        packages = [entry for entry in entries if not entry.startswith("#")]
        assert packages
        assert [entry.split()[0] for entry in packages if "--hash=sha256:" not in entry] == []


def test_the_lock_satisfies_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    locked = set(
        re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    )
    names = {re.split(r"[\[<>=~ ]", requirement)[0] for requirement in wanted}
    assert names - locked == set()
