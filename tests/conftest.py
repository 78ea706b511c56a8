"""What all tests share: the network guard, Hypothesis without deadlines, a vault, its folder."""

from __future__ import annotations

from .guard.session import Session, begin

GUARD = begin()  # before anything is imported that could reach out

# ruff: noqa: E402  # for that reason
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mimir_core import Mimir

from .vault.vaults import MEMORY_FOLDER, create

REFUSED = pytest.StashKey[list[str]]()

settings.register_profile(
    "mimir", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("mimir")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, in memory where the system has one: syncing there costs nothing."""
    with tempfile.TemporaryDirectory(dir=MEMORY_FOLDER) as name:
        yield Path(name)


@pytest.fixture
def path(folder: Path) -> Path:
    """Where a vault may be created."""
    return folder / "vault.mimir"


@pytest.fixture
def mimir(path: Path) -> Iterator[Mimir]:
    """An open, empty vault."""
    with create(path) as opened:
        yield opened


@pytest.fixture(scope="session")
def guard() -> Session:
    """The guard over this run; without one, what needs it is skipped."""
    if GUARD.folder is None:
        pytest.skip(f"no network guard: {GUARD.why}")
    return GUARD


@pytest.fixture(autouse=True)
def _stays_on_this_machine() -> Iterator[None]:
    """No test reaches another machine or looks a name up: whichever does has an error."""
    yield
    if found := GUARD.breaches():
        pytest.fail("the network guard refused: " + "; ".join(found))


def pytest_report_header() -> str:
    """Says at the top whether there is a guard."""
    return f"network guard: {GUARD.why or 'on, at the system call'}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What was refused outside of any test, at an import or an end, fails the run as well."""
    if found := GUARD.breaches():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.stash[REFUSED] = found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names what was refused outside of any test, above the closing line."""
    for each in terminalreporter.config.stash.get(REFUSED, []):
        terminalreporter.line(f"the network guard refused, outside of any test: {each}", red=True)
