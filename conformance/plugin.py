"""The pytest plugin. pytest loads it wherever intack is installed, so it is a light gate, shut in the projects of
others.

    an --intack- option, its ini or environment twin ──┐
    a clause of `properties` is collected ─────────────┼──> conformance.verdict.session: everything heavy
    a verdict comes back from an xdist worker ─────────┘

Workers judge; the controller gathers their verdicts, writes the reports and prints what it comes to.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conformance.ordering.order import Answer
    from conformance.verdict.session import Session

TWINS = {
    "adapter": "the implementation to judge: a registered name or package.module:Class (default: reference)",
    "profile": "strict, kvm or generic (default: what the implementation declares)",
}
"""Options that can also be an ini setting intack_NAME or an environment variable INTACK_NAME."""
LISTS = {
    "clause": ("GLOB", "judge only clauses whose id matches, such as 'E2E-*'; repeatable"),
    "environment": ("NAME", "widen the hardware beyond the architecture: late-mi; repeatable"),
    "report": ("PATH", "write the report here, PATH ending in .json; repeatable"),
}
REPLAY = "follow the schedule of this replay string, and say what became of it"

GATE = pytest.StashKey["Gate"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("intack", "intack: conformance of virtual-interrupt delivery")
    for name, text in TWINS.items():
        group.addoption(f"--intack-{name}", default="", metavar="SPEC" if name == "adapter" else "NAME", help=text)
        parser.addini(f"intack_{name}", text, default="")
    for name, (metavar, text) in LISTS.items():
        group.addoption(f"--intack-{name}", action="append", default=[], metavar=metavar, help=text)
    group.addoption("--intack-replay", default="", metavar="STRING", help=REPLAY)


MARKER = """intack_order(*constraints, adapter="", scenario): a directed schedule; the fixture `directed` answers it"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    gate = config.stash[GATE] = Gate(config)
    config.pluginmanager.register(gate, "intack-gate")
    if any(gate.asked.values()):
        gate.open()


def session_of(config: pytest.Config) -> Session:
    """The suite's session of this run, opened when first asked for."""
    return config.stash[GATE].open()


@pytest.fixture
def directed(request: pytest.FixtureRequest) -> Answer:
    """What becomes of the constraints of this test's `intack_order` marker, in the one scenario that it names."""
    from conformance.ordering.order import schedules

    marker = request.node.get_closest_marker("intack_order")
    if marker is None:
        raise pytest.UsageError("the fixture directed needs the marker intack_order, with constraints and a scenario")
    adapter = marker.kwargs.get("adapter") or request.config.stash[GATE].asked["adapter"] or "reference"
    return schedules(adapter, *marker.args, scenarios=[marker.kwargs["scenario"]])[0]


class Gate:
    """One pytest process. The controller, or the only process, also gathers verdicts and reports them."""

    def __init__(self, config: pytest.Config) -> None:
        worker: dict[str, Any] = getattr(config, "workerinput", {})
        self.worker = bool(worker)
        self.shared = Path(worker.get("intack_shared") or Path(tempfile.gettempdir(), f"intack-{uuid.uuid4().hex}"))
        """Where the processes of this run share explorations. Made by who first needs it."""
        self.session: Session | None = None
        self.trouble = ""
        self.asked: dict[str, Any] = {n: config.getoption(f"intack_{n}") for n in (*TWINS, *LISTS, "replay")}
        for name in TWINS:
            twin = os.environ.get(f"INTACK_{name.upper()}") or config.getini(f"intack_{name}")
            self.asked[name] = self.asked[name] or twin

    def open(self) -> Session:
        if self.session is None:
            from conformance.verdict import session

            try:
                self.session = session.Session(self.shared, **self.asked)
            except session.BadInput as error:
                raise pytest.UsageError(str(error)) from None
        return self.session

    def pytest_report_header(self) -> list[str]:
        return [f"intack: {self.session.about()}"] if self.session else []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist starts a worker."""
        node.workerinput["intack_shared"] = str(self.shared)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ours = self.session or any(name == "intack" for name, _ in report.user_properties)
        if ours and not self.worker and "::test_clause[" in report.nodeid:
            self.open().gather(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.session and not self.worker and not session.config.option.collectonly:
            self.trouble = self.session.write_reports()
            if self.trouble:
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.session and (self.session.verdicts or self.trouble):
            terminalreporter.section("intack")
            terminalreporter.write(self.session.overview(color=terminalreporter.hasmarkup))
            if self.trouble:
                terminalreporter.write_line(self.trouble, red=True)

    def pytest_unconfigure(self) -> None:
        if not self.worker:
            shutil.rmtree(self.shared, ignore_errors=True)
