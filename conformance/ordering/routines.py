"""Routines as events: what a thread of a scenario does from one state until it enters the guest, sleeps or ends.

An implementation is unfolded into automata; closed, with each read given every value that any of the threads may leave
there, their paths are the paths of a litmus test, and the axioms decide which of them can meet. A *window* is a state from
which the threads go on: the start of the scenario, and the return from each guest exit that the vCPU reaches alone.

What operations become is `TABLE`. Assumed: no value that a routine computes with carries a dependency (which a compiler
may drop), a branch does; an announcement of a sleep and an interrupt message take effect when they are performed, with
no regard to stores before them that no barrier has completed (x2APIC: Intel SDM vol. 3A, 11.12.3; SGI1R: after DSB).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from conformance.automaton.meaning import after, combined, merged, seen, writes
from conformance.automaton.unfold import Node
from conformance.litmus.axioms import Model
from conformance.litmus.condition import Condition
from conformance.litmus.parse import LitmusTest, Place
from conformance.litmus.program import Program
from conformance.litmus.thread import Memory, MemoryEvent, Path
from conformance.litmus.values import Address, Concrete, Unsupported, Value, apply, constant
from conformance.machine.machine import Machine
from conformance.ordering.weaken import Site, occurrence
from conformance.roles import operations as ops

TABLE = (
    ("load", "mov", "LDR; acquire or seq_cst: LDAR"),
    ("store", "mov", "STR; release or seq_cst: STLR"),
    ("locked operation, seq_cst", "lock ...", "LDSETAL, SWPAL, CASAL"),
    ("locked operation, relaxed", "lock ...", "LDSET, SWP, CAS; acquire: ...A; release: ...L"),
    ("full fence", "mfence", "DMB ISH"),
    ("load or acquire fence", "-", "DMB ISHLD"),
    ("store fence", "-", "DMB ISHST"),
    ("release fence", "-", "DMB ISH"),
    ("lock", "lock cmpxchg, until it was free", "CASA, until it was free"),
    ("unlock", "mov", "STLR"),
    ("interrupt message", "wrmsr (x2APIC): does not wait for stores", "msr ICC_SGI1R: does not wait for stores"),
)
"""(operation, x86, Armv8)."""
FENCES = {"full": "full", "load": "load", "acquire": "load", "store": "store", "release": "full"}
LONGEST = 80
CALLS = 2
"""Calls of one routine on a path: a sleeper that is woken looks again, once."""
MOST_PATHS = 3000

Write = tuple[int, str, int]
"""The n-th time that a thread writes a location: (thread, location, n)."""
Causes = frozenset[frozenset[Write]]
"""Sets of writes, one of which must have come before."""
UNCAUSED: Causes = frozenset((frozenset(),))
MOST_CAUSES = 16
Origins = dict[str, dict[Any, Causes]]
"""By location and value: the writes by which it can come to be there."""
Words = Mapping[str, tuple[Any, ...]]
"""What each location may hold: numbers, or lists; a lock 0 or 1."""


class Guarded(NamedTuple):
    """A lock that is taken or dropped, or an access to what one guards."""

    kind: Literal["lock", "unlock", "read", "write"]
    at: str
    mask: int = ops.WORD
    value: Any = None


@dataclass(slots=True)
class Course:
    """A path, with what the machine needs to go on where it ends."""

    path: Path
    results: tuple[ops.Result, ...]
    """Of its reads: its part of the outcome."""
    end: Node
    own: dict[str, Any]
    """Locations that only this thread touches, as it leaves them."""
    on: bool
    unpreemptible: int
    sent: tuple[tuple[int, int], ...]
    """(vector, CPU)."""
    weakened: bool
    """Whether it passes the site that is taken away."""
    wrote: list[tuple[MemoryEvent, Causes]]
    """Its writes, each with what must have come before it, itself included."""
    under_locks: tuple[Guarded, ...]


@dataclass(slots=True)
class _State:
    """Where a walk is."""

    node: Node
    events: list[MemoryEvent]
    conditions: list[tuple[Value, Concrete]]
    results: tuple[ops.Result, ...]
    own: dict[str, Any]
    on: bool
    unpreemptible: int = 0
    sent: tuple[tuple[int, int], ...] = ()
    ctrl: frozenset[int] = frozenset()
    calls: tuple[str, ...] = ()
    steps: int = 0
    weakened: bool = False
    guarded: dict[tuple[str, int], ops.Value] = field(default_factory=dict)
    """By location and mask: what the holder of its lock knows to be there, for nobody else writes it meanwhile."""
    causes: Causes = UNCAUSED
    wrote: list[tuple[MemoryEvent, Causes]] = field(default_factory=list)
    under_locks: tuple[Guarded, ...] = ()

    def fork(self) -> _State:
        return _State(
            self.node, [*self.events], [*self.conditions], self.results, dict(self.own), self.on, self.unpreemptible,
            self.sent, self.ctrl, self.calls, self.steps, self.weakened, dict(self.guarded), self.causes,
            [*self.wrote], self.under_locks,
        )  # fmt: skip


STATUS = "status of "
"""Prefix of the pseudo-location that a sleeper and its waker share: 1 is about to sleep."""


@dataclass(slots=True)
class Walker:
    """All courses of one thread."""

    machine: Machine
    state: int
    cpu: int
    thread: int
    model: Model
    origins: Origins
    shared: frozenset[str]
    site: Site | None
    dropped: int = 0
    """Paths that went on for too long."""
    touched: set[str] = field(default_factory=set)

    def courses(self) -> list[Course]:
        run = self.machine.cpus[self.cpu].run.unpack(self.state)
        start = _State(run.frames[-1].node, [], [], (), {}, self.machine.cpus[self.cpu].flag.unpack(self.state))
        done: list[Course] = []
        pending = [start]
        while pending:
            here = pending.pop()
            pending += self._step(here, done)
            if len(done) + len(pending) > MOST_PATHS:
                raise Unsupported(f"more than {MOST_PATHS} paths on cpu{self.cpu}")
        return done

    def _end(self, here: _State) -> Course:
        path = Path(self.thread, here.events, here.conditions)
        return Course(path, here.results, here.node, here.own, here.on, here.unpreemptible, here.sent, here.weakened,
                      here.wrote, here.under_locks)  # fmt: skip

    def _step(self, here: _State, done: list[Course]) -> Iterator[_State]:
        here.steps += 1
        if here.steps > LONGEST:
            self.dropped += 1
            return
        operation = here.node.answer
        match operation:
            case ops.Return(then=()) | ops.EnterGuest():
                done.append(self._end(here))
            case ops.Return(then=(str(routine), *args)):
                here.calls += (routine,)
                if here.calls.count(routine) > CALLS:
                    self.dropped += 1
                    return
                here.node = self.machine.assembly.root(routine, tuple(args))
                yield here
            case ops.Interrupts(on=on):
                was, here.on = here.on, on
                yield self._on(here, was)
            case ops.Preemption(on=on):
                here.unpreemptible += -1 if on else 1
                yield self._on(here, None)
            case ops.CpuId():
                yield self._on(here, self.cpu)
            case ops.Assert():
                yield self._on(here, None)
            case ops.ListOf():  # asked only before an entry joins a list, and lists are not what is in question here
                yield self._on(here, -1)
            case ops.Choose(options=options):
                for n in range(len(options)):
                    yield self._on(here.fork(), n)
            case ops.Fence(kind=kind):
                here.weakened |= self._at_site(here.node)
                if not self._at_site(here.node):
                    self._event(here, "F", None, None, frozenset((FENCES[kind],)))
                yield self._on(here, None)
            case ops.SendIpi(vector=vector, to=to):
                target = self.cpu if to is None else to
                self._event(here, "W", f"message to cpu{target}", constant(vector), frozenset(("message",)))
                here.sent += ((vector, target),)
                yield self._on(here, None)
            case ops.PrepareToBlock() | ops.FinishBlock():
                value = constant(int(isinstance(operation, ops.PrepareToBlock)))
                self._event(here, "W", STATUS + self._sleeper(), value, frozenset(("message",)))
                yield self._on(here, None)
            case ops.Schedule():
                for status in self._words(STATUS + self._sleeper()):
                    then = here.fork()
                    self._event(then, "F", None, None, frozenset(("full",)))
                    self._read(then, STATUS + self._sleeper(), ops.WORD, status, frozenset())
                    if status:
                        done.append(self._end(then))
                    else:
                        yield self._on(then, None)
            case ops.Wake(thread=thread):
                at = STATUS + thread
                for status in self._words(at):
                    then = here.fork()
                    read = self._read(then, at, ops.WORD, status, self._ordered("seq_cst", "R"))
                    self._event(then, "W", at, constant(0), self._ordered("seq_cst", "W"), read.index)
                    yield self._on(then, bool(status))
            case ops.Lock() | ops.Unlock():
                self._locked(here, operation)
                yield self._on(here, None)
            case ops.Load() | ops.Store() | ops.Rmw() if operation.at not in self.shared:
                yield self._own(here, operation)
            case ops.Load(at=at, mask=mask) if (at, mask) in here.guarded:
                yield self._on(here, here.guarded[at, mask])
            case ops.Load() | ops.Rmw():
                for result in self._possible(operation.at, operation.mask):
                    then = here.fork()
                    if not self._caused(then, operation.at, operation.mask, result):
                        continue
                    self._guarded(then, operation, result)
                    yield self._access(then, operation, result)
            case ops.Store(at=at, value=value, mask=mask, order=order):
                self.touched.add(at)
                self._guarded(here, operation, value & mask if isinstance(value, int) else value)
                tags = frozenset(("L",)) if self.model == "armv8" and order in ("release", "seq_cst") else frozenset()
                if not isinstance(value, int):
                    self._event(here, "W", at, constant(_opaque(value)), tags)
                elif mask == ops.WORD:
                    self._event(here, "W", at, constant(value & ops.WORD), tags)
                else:  # a field: what is beside it stays as the thread last saw it
                    read = self._event(here, "R", at, None, frozenset())
                    self._event(here, "W", at, _kept(read, value, mask), tags, read.index)
                yield self._on(here, None)
            case _:
                raise Unsupported(f"{here.node.routine} does {type(operation).__name__.lower()}")

    def _locked(self, here: _State, operation: ops.Lock | ops.Unlock) -> None:
        """1 while it is held. A holder sees what the one before it left: a spin that does not get it leaves no trace."""
        at, taken = operation.at, isinstance(operation, ops.Lock)
        self.touched.add(at)
        here.unpreemptible += 1 if taken else -1
        if not taken:
            guards = {key for key in here.guarded if self._guard(here, key[0]) == at}
            here.guarded = {key: value for key, value in here.guarded.items() if key not in guards}
        if at not in self.shared:
            if taken and self.model != "armv8":
                self._event(here, "F", None, None, frozenset(("full",)))
        elif taken:
            read = self._event(here, "R", at, None, self._ordered("acquire", "R"))
            assert read.value
            here.conditions.append((read.value, 0))
            here.ctrl |= {read.index}
            self._event(here, "W", at, constant(1), self._ordered("acquire", "W"), read.index)
            here.under_locks += (Guarded("lock", at),)
        else:
            released = frozenset("L" if self.model == "armv8" else "")
            self._event(here, "W", at, constant(0), released)
            here.under_locks += (Guarded("unlock", at),)

    def _guard(self, here: _State, at: str) -> str:
        return self.machine.assembly.shared(at, here.node.routine).guarded_by

    def _guarded(self, here: _State, operation: ops.Load | ops.Store | ops.Rmw, value: ops.Value) -> None:
        """Remember it until the lock is dropped."""
        if self._guard(here, operation.at):
            at, mask = operation.at, operation.mask
            if not isinstance(operation, ops.Store):
                here.under_locks += (Guarded("read", at, mask, value),)
            if not isinstance(operation, ops.Load):
                left = (
                    combined(operation, value) if isinstance(operation, ops.Rmw) and isinstance(value, int) else value
                )
                here.under_locks += (Guarded("write", at, mask, left),)
            if not isinstance(operation, ops.Load):
                here.guarded = {key: known for key, known in here.guarded.items() if key[0] != operation.at}
            if not isinstance(operation, ops.Rmw):
                here.guarded[operation.at, operation.mask] = value

    def _caused(self, here: _State, at: str, mask: int, result: Any) -> bool:
        """Whether what the path has read can all have come to be: not by a write that it has yet to do itself."""
        origins = self.origins.get(at, {})
        done = Counter(event.at.symbol for event, _ in here.wrote if event.at)
        of = {
            cause
            for word, causes in origins.items()
            if seen(word, mask) == result
            for cause in causes
            if all(thread != self.thread or n <= done[place] for thread, place, n in cause)
        }
        here.causes = _least(before | cause for before in here.causes for cause in of)
        return bool(here.causes)

    def _on(self, here: _State, result: ops.Result) -> _State:
        here.node = here.node.child(result)
        return here

    def _at_site(self, node: Node) -> bool:
        return self.site is not None and node.routine == self.site.routine and occurrence(node) == self.site.key

    def _sleeper(self) -> str:
        return self.machine.cpus[self.cpu].run.unpack(self.state).thread

    def _words(self, at: str) -> tuple[Any, ...]:
        self.touched.add(at)
        return tuple(self.origins.get(at, (0,)))

    def _possible(self, at: str, mask: int) -> list[Any]:
        return sorted({seen(word, mask) for word in self._words(at)})

    def _own(self, here: _State, operation: ops.Load | ops.Store | ops.Rmw) -> _State:
        """An access to what nobody else touches."""
        at = operation.at
        if not self.machine.assembly.shared(at, here.node.routine).constant:
            self.touched.add(at)
        word = here.own.get(at, self.machine.memory[at].unpack(self.state))
        match operation:
            case ops.Load(mask=mask):
                return self._on(here, seen(word, mask))
            case ops.Store(value=value, mask=mask):
                here.own[at] = merged(word, value, mask)
                return self._on(here, None)
            case ops.Rmw(mask=mask):
                here.weakened |= self._at_site(here.node)
                if self.model != "armv8" and not self._at_site(here.node):
                    self._event(here, "F", None, None, frozenset(("full",)))  # locked, it is a fence for the rest
                here.own[at] = after(operation, word)
                return self._on(here, word & mask)

    def _ordered(self, order: ops.Order, kind: str) -> frozenset[str]:
        """What a locked operation's read or write orders."""
        if self.model != "armv8":
            return frozenset(("locked",))
        acquires, releases = order in ("acquire", "seq_cst"), order in ("release", "seq_cst")
        return frozenset("A" if kind == "R" and acquires else "L" if kind == "W" and releases else "")

    def _access(self, here: _State, operation: ops.Load | ops.Rmw, result: int) -> _State:
        at, mask = operation.at, operation.mask
        node = here.node
        if isinstance(operation, ops.Load):
            acquires = self.model == "armv8" and operation.order in ("acquire", "seq_cst")
            self._read(here, at, mask, result, frozenset("A" if acquires else ""))
        else:
            weak = self._at_site(node)
            here.weakened |= weak
            order: ops.Order = "relaxed" if weak else operation.order
            apart = weak and self.model != "armv8"
            read = self._read(here, at, mask, result, frozenset() if apart else self._ordered(order, "R"))
            if writes(operation, result):
                tags = frozenset[str]() if apart else self._ordered(order, "W")
                value = _kept(read, combined(operation, result), mask)
                self._event(here, "W", at, value, tags, -1 if apart else read.index)
        if self._branches(node, self._possible(at, mask)):
            here.ctrl |= {max(e.index for e in here.events if e.kind == "R")}
        return self._on(here, result)

    def _branches(self, node: Node, results: list[int]) -> bool:
        """Whether what comes next depends on what was read here."""
        answers = {repr(node.child(result).answer) for result in results}
        return len(answers) > 1

    def _read(self, here: _State, at: str, mask: int, result: int, tags: frozenset[str]) -> MemoryEvent:
        event = self._event(here, "R", at, None, tags)
        assert event.value
        here.conditions.append((apply(lambda word: seen(word, mask), event.value), result))
        here.results += ((here.node.routine, at, mask, result),)
        return event

    def _event(
        self, here: _State, kind: Any, at: str | None, value: Value | None, tags: frozenset[str], rmw: int = -1
    ) -> MemoryEvent:
        event = MemoryEvent(
            self.thread, len(here.events), (here.steps, 0), here.node.routine, kind, order=tags, rmw=rmw
        )
        event.at = Address(at) if at is not None else None
        event.ctrl = event.pick_ctrl = here.ctrl
        event.value = value
        if kind == "R":
            mine = frozenset((event.index,))
            event.value = Value((event.name,), lambda word: word, mine, mine)
        if at is not None:
            self.touched.add(at)
        here.events.append(event)
        if kind == "W" and at is not None:
            nth = 1 + sum(earlier.at == event.at for earlier, _ in here.wrote)
            here.wrote.append((event, frozenset(cause | {(self.thread, at, nth)} for cause in here.causes)))
        return event


def _least(causes: Iterable[frozenset[Write]]) -> Causes:
    """Without those that another one is part of; where there are too many, nothing is known."""
    least: list[frozenset[Write]] = []
    for cause in sorted(set(causes), key=len):
        if not any(known <= cause for known in least):
            least.append(cause)
    return frozenset(least) if len(least) <= MOST_CAUSES else UNCAUSED


def _opaque(value: ops.Value) -> Any:
    """A list, as a value of a litmus test: nothing is computed with it."""
    return value


def _kept(read: MemoryEvent, value: int, mask: int) -> Value:
    """The word that was read with another value under the mask. Carries no dependency."""
    return Value((read.name,), lambda word: merged(word, value, mask))


@dataclass(slots=True)
class Window:
    """The threads of a scenario from one state on."""

    name: str
    program: Program
    courses: list[list[Course]]
    cpus: list[int]
    shared: tuple[str, ...]
    dropped: int
    site: Site | None


def window(machine: Machine, state: int, name: str, model: Model, site: Site | None) -> Window:
    """Closes the automata of all threads that are on a CPU in this state. Raises Unsupported."""
    cpus = [c for c, cpu in enumerate(machine.cpus) if cpu.run.unpack(state).frames]
    initial = {at: cell.unpack(state) for at, cell in machine.memory.items()}
    statuses = {STATUS + t: int(cells.status.unpack(state) == "about to sleep") for t, cells in machine.threads.items()}
    origins: Origins = {at: {v: UNCAUSED} for at, v in (initial | statuses).items()}
    for at, declared in machine.assembly.locations.items():
        if declared.lock and at in origins:
            if "" not in origins[at]:
                raise Unsupported(f"{name}: {at} is held")
            origins[at] = {0: UNCAUSED}
    shared = frozenset(statuses)
    while True:
        walkers = [Walker(machine, state, c, n, model, origins, shared, site) for n, c in enumerate(cpus)]
        courses = [walker.courses() for walker in walkers]
        common = {at for n, w in enumerate(walkers) for v in walkers[n + 1 :] for at in w.touched & v.touched}
        grown = _grown(origins, courses)
        if grown == origins and common <= shared:
            break
        origins, shared = grown, shared | common
    words: Words = {at: tuple(values) for at, values in origins.items()}
    places = tuple(sorted(at for at in shared if any(at in w.touched for w in walkers)))
    condition = Condition("and", tuple(Condition("=", left=Address(at)) for at in places))
    test = LitmusTest(
        name, "routines", {}, {at: Place((values[0],), 8) for at, values in words.items()}, (), "exists", condition
    )  # fmt: skip
    memory = Memory(test)
    memory.written = {Address(at): values for at, values in words.items()}
    for of in courses:
        for course in of:
            memory.written |= {
                e.at: (0, *(v for v, _ in course.sent))
                for e in course.path.events
                if e.at and e.at not in memory.written
            }
    program = Program(test, [[course.path for course in of] for of in courses], memory)
    return Window(name, program, courses, cpus, places, sum(w.dropped for w in walkers), site)


def _grown(origins: Origins, courses: list[list[Course]]) -> Origins:
    """With what the courses may write, and by which writes it comes to be."""
    grown = {at: dict(values) for at, values in origins.items()}
    for event, causes in (wrote for of in courses for course in of for wrote in course.wrote):
        if event.at and event.value and event.at.symbol in grown:
            values = grown[event.at.symbol]
            returns = dict.fromkeys(event.value.support, tuple(origins[event.at.symbol]))
            for _, value in event.value.cases(returns):
                values[value] = _least((*values.get(value, ()), *causes))
    return grown


def serial(first: Sequence[Guarded], second: Sequence[Guarded], initial: Mapping[str, Any]) -> bool:
    """Whether what two threads do under locks fits together in some order: each reads what was left there before.

    Nobody touches it without the lock, which acquires and releases, so whatever the model allows has such an order.
    """
    names = sorted({it.at for it in (*first, *second)})
    pending, visited = [(0, 0, tuple(initial[at] for at in names))], set[Any]()
    while pending:
        here = pending.pop()
        if here in visited:
            continue
        visited.add(here)
        m, n, words = here
        if m == len(first) and n == len(second):
            return True
        for it, then in ((first[m : m + 1], (m + 1, n)), (second[n : n + 1], (m, n + 1))):
            if it and (after := _after(it[0], names.index(it[0].at), words)):
                pending.append((*then, after))
    return False


def _after(it: Guarded, n: int, words: tuple[Any, ...]) -> tuple[Any, ...]:
    """Empty where it cannot be done now."""
    match it.kind:
        case "lock" if words[n]:
            return ()
        case "read":
            return words if seen(words[n], it.mask) == it.value else ()
        case "write":
            return (*words[:n], merged(words[n], it.value, it.mask), *words[n + 1 :])
        case _:
            return (*words[:n], {"lock": 1, "unlock": 0}[it.kind], *words[n + 1 :])
