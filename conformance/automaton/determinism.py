"""Ask everything again in a fresh process, in another order, before a violation is shrunk or reported.

What a module keeps in its globals survives a fresh object; it does not survive a fresh process. The child builds the
same assembly from the SPEC and the scenario, and answers the same questions; the first answer that differs is a Fault
NONDETERMINISTIC.
"""

from __future__ import annotations

import pickle
import random
import subprocess
import sys

from conformance.adapters.registry import Implementation, resolve
from conformance.adapters.source import Fault
from conformance.automaton.assembly import Assembly, assemble
from conformance.roles.operations import Answer, Result
from conformance.roles.scenario import Scenario

Question = tuple[str, tuple[Result, ...], tuple[Result, ...]]
SECONDS = 120.0


def in_fresh_process(implementation: Implementation, scenario: Scenario, assembly: Assembly) -> None:
    """Raises Fault NONDETERMINISTIC. An implementation that its SPEC does not lead back to is asked in this process
    only.
    """
    asked = [((n.routine, n.args, n.results), n.answer) for u in assembly.unfoldings() for n in u.nodes()]
    random.Random(1).shuffle(asked)
    questions = [question for question, _ in asked]
    child = subprocess.run(
        [sys.executable, "-m", "conformance.automaton.determinism"],
        input=pickle.dumps((sys.path, implementation.spec, implementation.name, scenario, questions)),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    if child.returncode:
        return
    answers: list[Answer | Fault] = pickle.loads(child.stdout)
    for ((routine, args, results), answer), again in zip(asked, answers, strict=True):
        if again != answer:
            raise Fault(
                "NONDETERMINISTIC",
                f"{routine}{args} answers differently in a fresh process: after {len(results)} operations it first asked for "
                f"{answer}, then for {again}. Something outlives the call: a global, a cache, the environment, the clock. "
                "Keep state in declared locations.",
                routine,
            )


def answer_again() -> None:
    """The child: pickled questions on stdin, pickled answers on stdout. Exit status 1 if the SPEC leads elsewhere."""
    path, spec, name, scenario, questions = pickle.load(sys.stdin.buffer)
    sys.path[:] = path
    try:
        implementation = resolve(spec)
    except Exception:
        sys.exit(1)
    if implementation.name != name:
        sys.exit(1)
    assembly = assemble(implementation, scenario)
    answers: list[Answer | str] = []
    for routine, args, results in questions:
        try:
            answers.append(assembly.routines[routine].source.next(routine, args, results))
        except Fault as fault:
            answers.append(str(fault))
    sys.stdout.buffer.write(pickle.dumps(answers))


if __name__ == "__main__":
    answer_again()
