"""An execution of a litmus test as lanes: its accesses in an order in which they may take effect.

     step | P0                                 | P1                   | changed
    ------+------------------------------------+----------------------+--------
        1 | movl (y),%eax: y = 0; overtakes 4  |                      |
        2 |                                    | movl $1,(y): y := 1  | y 0->1

The order is one that the model's own order allows, program order wherever it leaves a choice; a step that takes effect
before an earlier one of its thread says which it overtakes.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from conformance.litmus.axioms import Model, kept
from conformance.litmus.solve import Found
from conformance.litmus.thread import MemoryEvent
from conformance.litmus.values import Concrete, Read
from conformance.report.lanes import lane_table, plain
from conformance.verdict.clause import Counterexample, Row


def effects(found: Found, model: Model) -> list[MemoryEvent]:
    """The accesses in an order in which they may take effect."""
    threads = [path.events for path in found.combination.paths]
    memory = {e.name: e for events in threads for e in events if e.kind != "F"}
    after: dict[Read, set[Read]] = {name: set() for name in memory}
    for events in threads:
        for event, later in zip(events, kept(model, events), strict=True):
            if event.kind != "F":
                after[event.name] |= {(event.thread, j) for j in range(len(events)) if later >> j & 1}
    for order in found.execution.co.values():
        for n, write in enumerate(order):
            after[write] |= set(order[n + 1 :])
    for read, source in found.execution.rf.items():
        at = memory[read].at
        assert at
        if source and source[0] != read[0]:
            after[source].add(read)
        order = found.execution.co.get(at, ())
        later = order[order.index(source) + 1 if source else 0 :]
        after[read] |= {w for w in later if w[0] != read[0] or w[1] > read[1]}
    waits = dict.fromkeys(memory, 0)
    for ones in after.values():
        for name in ones:
            waits[name] += 1
    ready = [(name[1], name) for name, n in waits.items() if not n]
    heapq.heapify(ready)
    made: list[MemoryEvent] = []
    while ready:
        _, name = heapq.heappop(ready)
        made.append(memory[name])
        for one in after[name]:
            waits[one] -= 1
            if not waits[one]:
                heapq.heappush(ready, (one[1], one))
    return made


def rows(found: Found, model: Model) -> tuple[Row, ...]:
    order = effects(found, model)
    place = {event.name: n for n, event in enumerate(order, 1)}
    holds: dict[str, Concrete] = {}
    made: list[Row] = []
    for n, event in enumerate(order, 1):
        at = str(event.at)
        assert event.at and event.value
        before = holds.get(at, found.combination.program.initial(event.at))
        value = event.value.given(found.returned)
        does = f"{at} := {value}" if event.kind == "W" else f"{at} = {value}"
        overtaken = sorted(
            p for name, p in place.items() if name[0] == event.thread and name[1] < event.index and p > n
        )
        texts = [f"{event.text}: {does}"]
        if overtaken:
            texts.append(f"overtakes {', '.join(map(str, overtaken))}")
        if event.kind == "R" and (source := found.execution.rf[event.name]) and place[source] > n:
            texts.append(f"forwarded from {place[source]}")
        changes = {}
        if event.kind == "W":
            holds[at] = value
            changes = {at: (str(before), str(value))}
        made.append(Row(n, f"P{event.thread}", False, tuple(texts), changes))
    return tuple(made)


def lanes(found: Found, model: Model, width: int = 110) -> str:
    """The table, and the final state below it."""
    program = found.combination.program
    told = Counterexample(
        scenario=program.test.name, switches=0, steps=0, at_rest=False, reason="", rows=rows(found, model)
    )
    final: Mapping[str, Concrete] = {
        str(t): v
        for t, v in zip(program.observed(), found.combination.outcome(found.execution, found.returned), strict=True)
    }
    return plain(lane_table(told, "", width=width)) + f"\n finally {', '.join(f'{t} = {v}' for t, v in final.items())}"
