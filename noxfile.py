"""The project's chores. `nox -l` lists them; each makes its own virtual environment."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "conformance"]
nox.options.default_venv_backend = "venv"  # nothing beyond python3 needed


@nox.session
def conformance(session: nox.Session) -> None:
    """Judge the default implementation, or another: nox -s conformance -- -a SPEC."""
    session.install("-e", ".")
    session.run("intack", "run", *(session.posargs or ["--report", "report.json"]))


@nox.session
def tests(session: nox.Session) -> None:
    """The properties on the default implementation, and the suite's own tests."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", "-n", "auto", "-m", "", *session.posargs)


@nox.session
def golden(session: nox.Session) -> None:
    """Every scenario's states and routines against what is pinned, and every correct variant in every scenario."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "properties.golden", "--check")
    session.run("python", "tests/test_variants.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, layout, types, and which way imports go."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("pyright", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """What things cost: scenarios, the searches against Spin and plain Hypothesis, the PIR scanner against the kernel's
    algorithms, litmus tests against herd7, native code and pipes. What is not installed is left out. Asserts nothing
    about time. nox -s bench -- spin runs one of them.
    """
    session.install("-e", ".[compiled]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branches of the reference, its alternatives and the known-bad implementations that are reached, and those that
    are not.
    """
    session.install("-e", ".[dev]")
    session.run("coverage", "erase")
    everything = {"INTACK_NO_CACHE": "1"}  # what is kept is not run
    session.run("coverage", "run", "-m", "pytest", "-n", "auto", *session.posargs, env=everything)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """The pages as a site, in build/site; links and anchors that lead nowhere are errors. nox -s docs -- serve shows them."""
    session.install("-e", ".[docs]")
    env = {"NO_MKDOCS_2_WARNING": "1"}
    session.run("mkdocs", *(session.posargs or ["build", "--strict", "--quiet"]), env=env)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Mutated input for each door: litmus files, manifests, lines of the pipe, replay strings, orders, routines, command
    lines. nox -s fuzz -- 100000, or 1 DOOR NUMBER for one case again.
    """
    session.install("-e", ".[dev]")
    session.run("python", "tests/fuzzing.py", *(session.posargs or ["10000"]))


def _mutated(spec: str, architecture: str, argued: str, states: int, again: int = 0) -> tuple[str, ...]:
    within = ("--states", str(states), "--again", str(again))
    return ("-a", spec, "--architecture", architecture, *within, "--argued", f"reference/{architecture}/{argued}.toml")


MUTATED = {
    "x86": _mutated("reference", "x86", "equivalent", 3000, 9_300),
    "arm": _mutated("reference", "arm", "equivalent", 1500, 40_000),
    "kvm-vtd-only": _mutated("kvm-vtd-only", "x86", "equivalent_vtd_only", 800, 9_300),
    "linux-posted-intr": _mutated("linux-posted-intr", "x86", "equivalent_linux", 800, 9_300),
}
"""By the name of its report: of what."""


@nox.session
def mutants(session: nox.Session) -> None:
    """Every mutant that docs/mutants.md tells of, and whether it says what becomes of them. What was found out is kept in
    build/mutants: a session that was ended goes on where it was. nox -s mutants -- x86: only these.
    """
    session.install("-e", ".[dev]")
    folder = Path("build/mutants")
    folder.mkdir(parents=True, exist_ok=True)
    asked = session.posargs or [*MUTATED]
    for name in asked:
        kept = ("--journal", str(folder / f"{name}.journal"), "--report", str(folder / f"{name}.json"))
        session.run("intack", "mutate", *MUTATED[name], *kept)
    if asked == [*MUTATED]:
        session.run("python", "-m", "reference.mutants", "--check", *(str(folder / f"{name}.json") for name in MUTATED))
