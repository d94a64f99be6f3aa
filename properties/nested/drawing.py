"""Hypothesis draws nested scenarios, beyond the rows of the grammar: more agents, longer programs, any vectors, more tokens.

Options come in the order of what they cost, so that what shrinks gets cheaper.
"""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from conformance.roles.nested import NPINV
from conformance.roles.scenario import Action, Budget, Scenario
from properties.nested.grammar import ENTRIES, Agent, assemble

KINDS = ("posts", "posts", "prepares", "own", "pinv12", "request")
TIMES = {"prepares": 1.5, "pinv12": 15.0, "own": 16.0, "posts": 21.0, "request": 18.0, "preempt": 6.2, "exit": 3.1}
"""How many times as many states each makes it, and each action of a program 1.5: measured by a log-linear fit."""
VECTORS = st.sampled_from((200, 100, 216, 191, 192, 255, 16)) | st.integers(16, 223)
"""Below those of the hosts' own."""
PLAIN = st.sampled_from((("hlt",), ("hlt",), ("cli",), ("sti",), ("io",), ("touch",), ("vmlaunch", 1), ("vmlaunch", 0)))


@st.composite
def programs(draw: st.DrawFn) -> tuple[Action, ...]:
    """L1 enters L2, which exits to L1 before L1 enters one again; a mask that L2 raises it lowers."""
    program: list[Action] = list(ENTRIES[draw(st.sampled_from(("open", *ENTRIES)))][1])
    inside = True
    for action in draw(st.lists(PLAIN, max_size=3)):
        if (action[0] == "vmlaunch") == inside or (action == ("io",) and not inside):
            continue
        inside = {"vmlaunch": True, "io": False}.get(str(action[0]), inside)
        program += [("cli",), ("sti",)] if action in (("cli",), ("sti",)) else [action]
    return tuple(program)


@st.composite
def scenarios(draw: st.DrawFn, states: float) -> Scenario:
    """Of about so many states at most."""
    agents = draw(st.lists(st.builds(Agent, st.sampled_from(KINDS), VECTORS), min_size=1, max_size=3))
    shared = draw(st.sampled_from((False, False, True)))
    buffered = draw(st.booleans())
    program = draw(programs())
    budget = draw(
        st.builds(
            Budget,
            preempt=st.integers(0, 2),
            migrate=st.integers(0, 0 if shared else 1),
            exit=st.integers(0, 2),
            spurious=st.sampled_from(((), ((NPINV, 0),))),
        )
    )
    if ("vmlaunch", 1) not in program:
        assume(not any(agent.kind in ("posts", "prepares") for agent in agents))
    assume(_states(agents, program, budget, shared=shared, buffered=buffered) <= states)
    return assemble("drawn", "drawn at random", agents, program, budget, shared=shared, buffered=buffered)


def _states(agents: list[Agent], program: tuple[Action, ...], budget: Budget, *, shared: bool, buffered: bool) -> float:
    """Predicted."""
    n = 45.0 * (1.3 if shared else 1) * (1.5 if buffered else 1) * 1.5 ** len(program)
    for agent in agents:
        n *= TIMES[agent.kind]
    return (
        n
        * TIMES["preempt"] ** budget.preempt
        * 2**budget.migrate
        * TIMES["exit"] ** budget.exit
        * 3 ** len(budget.spurious)
    )
