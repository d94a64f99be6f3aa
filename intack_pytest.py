"""The pytest plugin. pytest loads it wherever intack is installed, so it is a light gate, shut in the projects of
others: it stands outside of intack's packages, for a project may have one that is called `conformance` too, and imports
nothing of them until it is asked.

    an --intack- option, its ini or environment twin ──┐
    a clause of `properties` is collected ─────────────┼──> conformance.verdict.session: everything heavy
    a verdict comes back from an xdist worker ─────────┘

Workers judge; the controller gathers their verdicts, writes the reports and prints what it comes to.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conformance.ordering.order import Answer
    from conformance.verdict.clause import Clause, Verdict
    from conformance.verdict.pool import Apart
    from conformance.verdict.session import Session
    from conformance.verdict.sharing import Shared
    from conformance.verdict.work import Item, Result

TWINS = {
    "adapter": "the implementation to judge: a registered name or package.module:Class (default: reference)",
    "profile": "strict, kvm or generic (default: what the implementation declares)",
}
"""Options that can also be an ini setting intack_NAME or an environment variable INTACK_NAME."""
LISTS = {
    "clause": ("GLOB", "judge only clauses whose id matches, such as 'E2E-*'; repeatable"),
    "environment": ("NAME", "widen the hardware beyond the architecture: late-mi; repeatable"),
    "report": (
        "PATH",
        "write the report here, in the form that the ending says: .json, .html, .xml, .md, .mail, .txt; repeatable",
    ),
}
REPLAY = "follow the schedule of this replay string, and say what became of it"
NO_CACHE = (
    "find out everything anew, and keep nothing for the next run (also: the environment variable INTACK_NO_CACHE)"
)

GATE = pytest.StashKey["Gate"]()
PROPERTY = "intack"
"""The user property of a pytest report that holds a verdict as JSON; it crosses xdist and reaches JUnit files too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("intack", "intack: conformance of virtual-interrupt delivery")
    for name, text in TWINS.items():
        group.addoption(f"--intack-{name}", default="", metavar="SPEC" if name == "adapter" else "NAME", help=text)
        parser.addini(f"intack_{name}", text, default="")
    for name, (metavar, text) in LISTS.items():
        group.addoption(f"--intack-{name}", action="append", default=[], metavar=metavar, help=text)
    group.addoption("--intack-replay", default="", metavar="STRING", help=REPLAY)
    group.addoption("--intack-no-cache", action="store_true", help=NO_CACHE)


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


def judged(clause: Clause, config: pytest.Config, record_property: Callable[[str, object], None]) -> Verdict:
    """The verdict on a clause, for its test."""
    return config.stash[GATE].judge(clause, record_property)


@pytest.fixture
def directed(request: pytest.FixtureRequest) -> Answer:
    """What becomes of the constraints of this test's `intack_order` marker, in the one scenario that it names."""
    from conformance.ordering.order import schedules

    marker = request.node.get_closest_marker("intack_order")
    if marker is None:
        raise pytest.UsageError("the fixture directed needs the marker intack_order, with constraints and a scenario")
    adapter = marker.kwargs.get("adapter") or request.config.stash[GATE].asked["adapter"] or "reference"
    return schedules(adapter, *marker.args, scenarios=[marker.kwargs["scenario"]])[0]


def _check_shadows() -> None:
    """Raises UsageError where a package of the project has the name of one of intack's."""
    home = Path(__file__).parent
    for name in ("conformance", "reference", "properties"):
        spec = importlib.util.find_spec(name)
        found = Path(next(iter((spec and spec.submodule_search_locations) or ["nothing"])))
        if found != home / name:
            what = f"{found} shadows the package {name} of intack, in {home}"
            raise pytest.UsageError(f"{what}. Rename it, run from another directory, or use the command intack run.")


class Gate:
    """One pytest process. The controller, or the only process, also gathers verdicts and reports them."""

    def __init__(self, config: pytest.Config) -> None:
        worker: dict[str, Any] = getattr(config, "workerinput", {})
        self.worker = bool(worker)
        self.folder = Path(worker.get("intack_shared") or Path(tempfile.gettempdir(), f"intack-{uuid.uuid4().hex}"))
        """Where the processes of this run share what they find out. Made by who first needs it."""
        self.shared: Shared | None = None
        self.apart: Apart | None = None
        self.session: Session | None = None
        self.verdicts: dict[str, Verdict] = {}
        """Where they are gathered."""
        self.trouble = ""
        self.asked: dict[str, Any] = {n: config.getoption(f"intack_{n}") for n in (*TWINS, *LISTS, "replay")}
        self.asked["replay"] = self.asked["replay"] or None
        for name in TWINS:
            twin = os.environ.get(f"INTACK_{name.upper()}") or config.getini(f"intack_{name}")
            self.asked[name] = self.asked[name] or twin
        self.keep = not (config.getoption("intack_no_cache") or os.environ.get("INTACK_NO_CACHE"))

    def open(self) -> Session:
        if self.session is None:
            _check_shadows()
            from conformance.adapters.ended import by_trying
            from conformance.adapters.registry import resolve
            from conformance.verdict import session

            spec = str(self.asked["adapter"])
            if spec and not self.worker and (ended := by_trying(lambda: resolve(spec))):
                raise pytest.UsageError(f"the process in which {spec} was loaded {ended}: nothing can be said")
            try:
                rows = bool(self.asked["adapter"] or self.asked["replay"])  # of the reference alone, stories are enough
                self.session = session.Session(**self.asked, keep=self.keep, rows=rows)
            except session.BadInput as error:
                raise pytest.UsageError(str(error)) from None
        return self.session

    # Where clauses are judged: the only process, or a worker

    def judge(self, clause: Clause, record_property: Callable[[str, object], None]) -> Verdict:
        import msgspec

        from conformance.verdict.judge import concluded
        from conformance.verdict.sharing import Shared

        session = self.open()
        if session.replay is not None:
            verdict = session.replayed()
        else:
            self.shared = self.shared or Shared(self.work(session), self.folder)
            verdict = concluded(session.judge.judging(clause), self.shared.do)
        record_property(PROPERTY, msgspec.json.encode(verdict).decode())
        return verdict

    def work(self, session: Session) -> Callable[[Item], Result]:
        """A worker may be ended by what it judges: xdist starts another. Nobody would be left to say so of this process."""
        from conformance.verdict.pool import Apart

        if self.worker:
            return session.judge.work.do
        self.apart = Apart(session.judge.work)
        return self.apart.do

    # Where verdicts are gathered: the only process, or xdist's controller

    def gather(self, report: pytest.TestReport) -> None:
        """The verdict that a report brings; if its process died or the suite itself failed, that is one too: CRASH."""
        import msgspec

        from conformance.verdict.clause import Status, Verdict

        session = self.open()
        for name, value in report.user_properties:
            if name == PROPERTY:
                verdict = msgspec.json.decode(str(value), type=Verdict)
                self.verdicts[verdict.clause.id] = verdict
                return
        clause = next((c for c in session.clauses if report.nodeid.endswith(f"::test_clause[{c.id}]")), None)
        if clause and report.failed:
            crash: Any = getattr(report.longrepr, "reprcrash", None)
            reason = f"{crash.message} at {crash.path}:{crash.lineno}" if crash else report.longreprtext.strip()
            self.verdicts[clause.id] = session.without_proof(clause, Status.CRASH, f"the suite itself failed: {reason}")

    def gathered(self) -> list[Verdict]:
        """All verdicts so far, in the order of the catalogue."""
        return [self.verdicts[c.id] for c in self.open().clauses if c.id in self.verdicts]

    def write_reports(self) -> str:
        """Answers what kept a report from being written."""
        from conformance.report import document, formats

        session = self.open()
        if session.reports and not self.verdicts:
            return "no clause was judged, so no report is written: properties/test_clauses.py was not among the tests"
        try:
            formats.write_all(session.reports, document.of_session(session, self.gathered()))
        except document.ReportError as error:
            return str(error)
        return ""

    def pytest_report_header(self) -> list[str]:
        if self.session is None:  # where nobody asked for it, a project may have a package of our name
            return []
        from conformance.roles.printable import printable

        return [printable(f"intack: {self.session.about()}")]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist starts a worker."""
        node.workerinput["intack_shared"] = str(self.folder)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ours = self.session or any(name == PROPERTY for name, _ in report.user_properties)
        if ours and not self.worker and "::test_clause[" in report.nodeid:
            self.gather(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.session and not self.worker and not session.config.option.collectonly:
            self.trouble = self.write_reports()
            if self.trouble:
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.session and (self.verdicts or self.trouble):
            from conformance.report.document import of_session
            from conformance.report.terminal import overview

            terminalreporter.section("intack")
            report = of_session(self.session, self.gathered())
            terminalreporter.write(overview(report, color=terminalreporter.hasmarkup))
            if self.trouble:
                terminalreporter.write_line(self.trouble, red=True)

    def pytest_unconfigure(self) -> None:
        if self.apart:
            self.apart.close()
        if not self.worker:
            shutil.rmtree(self.folder, ignore_errors=True)
