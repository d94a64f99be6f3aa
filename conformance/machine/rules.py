"""What the machine itself judges, of any implementation: that its agents do not stop each other for ever, nor touch what
they must not.
"""

from __future__ import annotations

from conformance.machine.clause import Section, Text

INTACK = Text("intack")

ANY = Section(
    title="Any implementation",
    about="Agents do not wait for ever, do not go round for ever, and keep to the locks and owners they declare and to "
    "what they assert.",
    ids=("DEADLOCK", "LIVELOCK", "RACE", "ASSERTION"),
    architecture="any",
    role="guest-visible",
    authority="end-to-end",
    profiles=("strict", "kvm", "generic"),
)

DEADLOCK = ANY.must_not(
    "DEADLOCK",
    "No agent waits for ever for what can never come: a lock whose holder cannot go on, or an operation that is never "
    "possible.",
    INTACK("design rule", "an agent that is not at rest can go on"),
    observe="At quiescence every thread sleeps, is in its guest or has ended; nobody waits for a lock.",
)

LIVELOCK = ANY.must_not(
    "LIVELOCK",
    "From every state the obligatory steps alone can come to rest; nobody goes round for ever, nor spins on what nobody "
    "will change.",
    INTACK("design rule", "a finite number of posts causes a finite amount of work"),
    observe="A quiescent state is reachable from every state by obligatory steps, and none has an agent spinning in it.",
)

RACE = ANY.must_not(
    "RACE",
    "A location guarded by a lock is touched only by its holder, and state private to a vCPU only where that vCPU is "
    "loaded.",
    INTACK("what the implementation declares of its locations"),
    observe="Each access to a declared location against its guard or owner; both sites are named.",
)

ASSERTION = ANY.must_not(
    "ASSERTION",
    "No assertion of the code itself fails: no WARN or BUG is reached. Of lists that is what the code asks of them (`list_of`), "
    "as a debugging kernel does: none is joined by who is on one, or left by who is on none; who does not ask is not judged. "
    "No thread sleeps with interrupts off, preemption disabled or a lock held, enables preemption more often than it was "
    "disabled, or unlocks what it does not hold.",
    INTACK(
        "what the code under test asserts; of lists what Linux's lib/list_debug.c does, of sleeping schedule_debug(), of "
        "preemption preempt_count_sub(), of locks print_unlock_imbalance_bug()"
    ),
    observe="Each assertion where the code makes it, told in its own words. One that a lock is held is a RACE.",
)

ALWAYS = tuple(clause.id for clause in ANY)
"""Clauses that every exploration puts to the test."""
