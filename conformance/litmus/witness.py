"""An execution of a litmus test as a sequence: its accesses in an order in which they may take effect.

The order is one that the model's own order allows, program order wherever it leaves a choice.
"""

from __future__ import annotations

import heapq

from conformance.litmus.axioms import Model, kept
from conformance.litmus.solve import Found
from conformance.litmus.thread import MemoryEvent
from conformance.litmus.values import Read


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
