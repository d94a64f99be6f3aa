"""What each operation of code under test does to the machine, and who could notice.

One method an operation. Where an operation has to wait it raises `Blocked`; where the code under test breaks a rule of the
vocabulary it raises Fault, and where it breaks a rule of its own declarations it reports a RACE, or one of every kernel
an ASSERTION, and goes on.
"""

from __future__ import annotations

from typing import Any

from conformance.adapters.source import Fault
from conformance.automaton import meaning
from conformance.automaton.unfold import Node
from conformance.machine import events as ev
from conformance.machine import facts
from conformance.machine.finding import Breach, about
from conformance.machine.parts import Frame, Running
from conformance.machine.state import Cell, Note, NotEnabled, View
from conformance.machine.watched import Hearing, Watched
from conformance.roles import operations as ops


class Blocked(Exception):
    """The operation has to wait."""


class Operations:
    """The frames that a step on CPU `c` works on (-1: a device, whose frames are in `run`), and the operations."""

    def __init__(self, machine: Watched, view: View, c: int, run: Cell[Any]) -> None:
        self.m, self.view, self.c, self.run = machine, view, c, run
        self.atomic = False
        self.switched = False
        self.steps = 0

    # Frames

    @property
    def frames(self) -> tuple[Frame, ...]:
        run = self.view.get(self.run)
        return run if self.c < 0 else run.frames

    def put_frames(self, frames: tuple[Frame, ...], thread: str | None = None, guest: str | None = None) -> None:
        """`thread`, `guest`: if they change, too."""
        if self.c < 0:
            self.view.set(self.run, frames)
            return
        run: Running = self.view.get(self.run)
        now = Running(run.thread if thread is None else thread, frames, run.guest if guest is None else guest)
        self.view.set(self.run, now)

    def push(self, kind: str, routine: str, args: tuple[ops.Result, ...], guest: str | None = None) -> None:
        self.put_frames((*self.frames, Frame(kind, self.m.assembly.root(routine, args))), guest=guest)
        self.emit(ev.Called(self.c, routine, args))

    def emit(self, event: ev.Event) -> None:
        self.m.emit(self.view, event)

    def owner(self) -> str:
        """The vCPU whose private locations this step may touch. Not a handler: it comes between the thread's steps."""
        if self.c < 0:
            return ""
        run: Running = self.view.get(self.run)
        return "" if run.frames[-1].kind == "handler" else run.guest or run.thread

    def _owns(self, owner: str) -> bool:
        """Whether this step may touch what is private to `owner`, a vCPU or a CPU."""
        return owner == (f"cpu{self.c}" if owner.startswith("cpu") else self.owner())

    def _undisturbed(self, owner: str) -> bool:
        """Of what is private to a CPU, a handler on top of a thread there can notice what the thread does."""
        shared = owner.startswith("cpu") and self.frames[-1].kind not in ("handler", "hardware")
        return not shared or not self.view.get(self.m.cpus[self.c].flag)

    def switch_out(self, preempted: bool) -> None:
        """The thread on this CPU leaves it."""
        raise NotImplementedError

    def noticeable(self, answer: ops.Answer, routine: str) -> bool:
        """Whether another agent could notice when this happens."""
        match answer:
            case ops.Load() | ops.Store() | ops.Rmw():
                shared = self.m.assembly.shared(answer.at, routine)
                if shared.constant:
                    return False
                if shared.private_to:
                    return not (self._owns(shared.private_to) and self._undisturbed(shared.private_to))
                seen = shared.read_freely and not isinstance(answer, ops.Load)
                return seen or not (shared.guarded_by and self.holds(shared.guarded_by))
            case ops.Return() | ops.Choose() | ops.ExitGuest() | ops.Deliver() | ops.Assert() | ops.ListOf():
                return False
            case ops.CpuId():
                return self._may_migrate()
            case ops.Fence():
                return self.m.depth > 0
            case ops.Preemption():
                return self.m.scenario.budget.preempt > 0
            case ops.Atomic(on=on):
                return on
            case _:
                return True

    def _may_migrate(self) -> bool:
        """Whether the thread may be on another CPU before its next operation."""
        budget = self.m.scenario.budget
        if not (budget.preempt and budget.migrate) or self.c < 0 or self.frames[-1].kind != "thread":
            return False
        thread = self.view.get(self.run).thread
        on = self.view.get(self.m.cpus[self.c].flag)
        return thread in self.m.guests and on and not self.view.get(self.m.threads[thread].unpreemptible)

    def perform(self, answer: ops.AnyOperation, node: Node) -> ops.Result:
        if self.c < 0 and not isinstance(answer, HARDWARE):
            raise Fault("CRASH", f"{node.routine} runs on a device, which cannot do {answer}", node.routine)
        place = len(self.view.notes)
        result: ops.Result = _DO[type(answer)](self, answer, node)
        done = (self.c, node, result, self.switched)
        known = self.m.performed.get(done)
        if known is None:
            known = self.m.performed[done] = self._performed(answer, node, result)
        note, concerned = known
        if note:
            self.view.notes.insert(place, note)  # before what it led to
        for hearing in concerned:
            hearing.tell(self.view)
        return result

    def _performed(
        self, answer: ops.AnyOperation, node: Node, result: ops.Result
    ) -> tuple[Note | None, tuple[Hearing, ...]]:
        """The account of an operation, and who is to be told of it."""
        if isinstance(answer, ops.Load) and self.m.assembly.shared(answer.at, node.routine).constant:
            return None, ()  # nobody changes it here, so reading it is no event
        concerned = self.m.concerned(ev.Asked(self.c, node.routine, answer, result))
        if isinstance(answer, facts.QUIET):
            return None, concerned
        told = self.switched if isinstance(answer, ops.Schedule) else result
        return Note(facts.performed(answer, told, node.routine), node), concerned

    def _wait_for_drain(self) -> None:
        if self.m.depth and self.c >= 0 and self.view.get(self.m.cpus[self.c].buffer):
            raise NotEnabled

    def holds(self, lock: str) -> bool:
        if lock not in self.m.memory or not self.m.assembly.locations[lock].lock:
            raise Fault("CRASH", f"{lock} is to be a lock, and is not declared as one")
        if self.view.get(self.m.memory[lock]) != self._holder():
            return False
        return not self.m.depth or all(at != lock for at, *_ in self.view.get(self.m.cpus[self.c].buffer))

    def _holder(self) -> str:
        """Who a lock taken now belongs to. What a handler interrupted does not pass its locks on to it."""
        if self.c < 0:
            return "a device"
        return f"cpu{self.c}'s handler" if self.frames[-1].kind == "handler" else f"cpu{self.c}"

    def _check_access(self, at: str, node: Node, writes: bool) -> bool:
        """Report a RACE; answers whether the access may bypass the store buffer, nobody else being able to look."""
        shared = self.m.assembly.shared(at, node.routine)
        if shared.lock:
            raise Fault("CRASH", f"{node.routine} reads or writes the lock {at}: use lock and unlock", node.routine)
        if shared.constant and writes:
            raise Fault(
                "CRASH",
                f"{node.routine} wrote {at}, which scenario {self.m.scenario.name} holds constant (no vector of it lives there)",
                node.routine,
            )
        if shared.private_to and not self._owns(shared.private_to):
            self._race(
                at,
                f"{node.routine} touched {at} {self._where(shared.private_to)}: only {_allowed(shared.private_to)} may",
            )
        free = shared.read_freely and not writes
        if shared.guarded_by and not free and not self.holds(shared.guarded_by):
            self._race(
                at, f"{node.routine} {'wrote' if writes else 'read'} {at} without holding {shared.guarded_by}, which "
                f"guards it against {self._others(at, node.routine)}"
            )  # fmt: skip
        return bool(shared.private_to or (shared.guarded_by and not shared.read_freely) or shared.constant)

    def _race(self, at: str, reason: str) -> None:
        self.view.findings.append(Breach("RACE", reason, about(at)))

    def _where(self, vcpu: str) -> str:
        if self.c < 0:
            return "on a device"
        if vcpu.startswith("cpu"):
            return f"on cpu{self.c}"
        return (
            f"in a handler on cpu{self.c}"
            if self.frames[-1].kind == "handler"
            else f"on cpu{self.c}, where {vcpu} is not loaded"
        )

    def _others(self, at: str, routine: str) -> str:
        others: set[str] = set()
        for unfolding in self.m.assembly.unfoldings():
            for node in unfolding.nodes():
                if (
                    isinstance(node.answer, ops.Load | ops.Store | ops.Rmw)
                    and node.answer.at == at
                    and node.routine != routine
                ):
                    others.add(node.routine)
        return ", ".join(sorted(others)) or "other CPUs"

    def _load(self, op: ops.Load, node: Node) -> ops.Result:
        self._check_access(op.at, node, writes=False)
        word = self.view.get(self.m.memory[op.at])
        if self.m.depth and self.c >= 0:
            for at, value, mask, _ in self.view.get(self.m.cpus[self.c].buffer):
                if at == op.at:
                    word = meaning.merged(word, value, mask)
        return meaning.seen(word, op.mask)

    def _store(self, op: ops.Store, node: Node) -> None:
        direct = self._check_access(op.at, node, writes=True)
        if op.order == "seq_cst" and not direct:  # compiled to xchg
            self._drained()
            direct = True
        self._buffered(op.at, op.value, op.mask, node.routine, direct)

    def _buffered(self, at: str, value: ops.Value, mask: int, routine: str, direct: bool) -> None:
        if direct or not self.m.depth or self.c < 0 or self.atomic or self.frames[-1].kind == "hardware":
            self.write(at, value, mask, routine)
            return
        buffer = self.view.get(self.m.cpus[self.c].buffer)
        if len(buffer) >= self.m.depth:
            raise Blocked
        self.view.set(self.m.cpus[self.c].buffer, (*buffer, (at, value, mask, routine)))

    def write(self, at: str, value: ops.Value, mask: int, routine: str) -> None:
        """Make a value visible to all."""
        cell = self.m.memory[at]
        old = self.view.get(cell)
        new = meaning.merged(old, value, mask)
        bits = meaning.sets(ops.Store(at, value, mask))
        self.view.set(cell, new)
        self.emit(ev.Changed(self.c, routine, at, old, new, bits))

    def _rmw(self, op: ops.Rmw, node: Node) -> int:
        self._drained()
        self._check_access(op.at, node, writes=True)
        old = self.view.get(self.m.memory[op.at])
        if not isinstance(old, int):
            raise Fault("CRASH", f"{node.routine} does arithmetic on {op.at}, which holds a list", node.routine)
        if meaning.writes(op, old & op.mask):
            new = meaning.after(op, old)
            self.view.set(self.m.memory[op.at], new)
            self.emit(ev.Changed(self.c, node.routine, op.at, old, new, meaning.sets(op, old)))
        return old & op.mask

    def _drained(self) -> None:
        if self.m.depth and self.c >= 0 and self.view.get(self.m.cpus[self.c].buffer):
            raise Blocked

    def _fence(self, op: ops.Fence, node: Node) -> None:
        if op.kind == "full":
            self._drained()

    def _interrupts(self, op: ops.Interrupts, node: Node) -> bool:
        flag = self.m.cpus[self.c].flag
        old = self.view.get(flag)
        self.view.set(flag, op.on)
        return old

    def _preemption(self, op: ops.Preemption, node: Node) -> None:
        self._count_unpreemptible(-1 if op.on else 1, node)

    def _count_unpreemptible(self, by: int, node: Node) -> None:
        thread = self.view.get(self.run).thread
        if not thread:
            return
        depth = self.m.threads[thread].unpreemptible
        now = self.view.get(depth) + by
        if now < 0:
            self._fails("enables preemption more often than it was disabled", node, thread)
            return
        self.view.set(depth, now)

    def _send_ipi(self, op: ops.SendIpi, node: Node) -> None:
        to = self.c if op.to is None else op.to
        known = to < len(self.m.cpus)
        if not known and self.c >= 0:  # a device's destination may be any id that software left in memory
            raise Fault(
                "CRASH", f"{node.routine} sends {op.vector:#x} to CPU {to}: there are {len(self.m.cpus)}", node.routine
            )
        if known:
            flight = self.m.cpus[to].flight
            self.view.set(flight, self.view.get(flight) | 1 << op.vector)
        self.emit(ev.Sent(self.c, node.routine, op.vector, to, known, node.args))

    def _lock(self, op: ops.Lock, node: Node) -> None:
        if not self.m.assembly.shared(op.at, node.routine).lock:
            raise Fault("CRASH", f"{node.routine} locks {op.at}, which is not declared as a lock", node.routine)
        self._drained()
        if self.view.get(self.m.memory[op.at]):
            raise Blocked
        self.view.set(self.m.memory[op.at], self._holder())
        self._count_unpreemptible(1, node)

    def _unlock(self, op: ops.Unlock, node: Node) -> None:
        if not self.holds(op.at):
            self._fails(f"unlocks {op.at}, which {self._holder()} does not hold", node, op.at)
            return
        if self.m.depth:
            buffer = self.view.get(self.m.cpus[self.c].buffer)
            if len(buffer) >= self.m.depth:
                raise Blocked
            self.view.set(self.m.cpus[self.c].buffer, (*buffer, (op.at, "", ops.WORD, node.routine)))
        else:
            self.view.set(self.m.memory[op.at], "")
        self._count_unpreemptible(-1, node)

    def _enter_guest(self, op: ops.EnterGuest, node: Node) -> None:
        self._drained()
        if op.vcpu not in self.m.guests:
            raise Fault("CRASH", f"{node.routine} enters {op.vcpu}, which is no vCPU of this scenario", node.routine)
        self.emit(ev.Entered(self.c, op.vcpu))
        self.push("hardware", "vm_entry", (op.vcpu,), guest=op.vcpu)

    def exit_guest(self, reason: tuple[int | str, ...]) -> None:
        """VM exit: hardware frames go, and the thread's enter_guest answers the reason."""
        run = self.view.get(self.run)
        frames = run.frames
        while frames[-1].kind == "hardware":
            frames = frames[:-1]
        top = frames[-1]
        self.put_frames((*frames[:-1], top._replace(node=top.node.child(reason))), guest="")
        self.view.notes.append(Note(facts.Exits(run.guest, reason)))
        match reason:
            case ("interrupt", int(vector)):
                # Acknowledged on exit: the host runs its handler as soon as interrupts are on (KVM: before that, inline).
                latched = self.m.cpus[self.c].latched
                self.view.set(latched, self.view.get(latched) | 1 << vector)
            case _:
                pass
        self.emit(ev.Exited(self.c, run.guest, reason))

    def _exit_guest(self, op: ops.ExitGuest, node: Node) -> None:
        if not self.view.get(self.run).guest:
            raise Fault("CRASH", f"{node.routine} exits a guest that is not running", node.routine)
        self.atomic = False
        self.exit_guest(op.reason)

    def _deliver(self, op: ops.Deliver, node: Node) -> None:
        vcpu = self.view.get(self.run).guest
        if not vcpu:
            raise Fault("CRASH", f"{node.routine} delivers vector {op.vector} outside a guest", node.routine)
        position, in_service = self.view.get(self.m.guests[vcpu])
        self.view.set(self.m.guests[vcpu], (position, (*in_service, op.vector)))
        self.view.notes.append(Note(facts.Delivers(vcpu, op.vector)))
        self.emit(ev.Delivered(self.c, vcpu, op.vector))

    def _prepare(self, op: ops.PrepareToBlock, node: Node) -> None:
        self.view.set(self._status(node), "about to sleep")

    def _finish(self, op: ops.FinishBlock, node: Node) -> None:
        self.view.set(self._status(node), "runnable")

    def _status(self, node: Node) -> Cell[str]:
        """Of the thread that runs here."""
        thread = self.view.get(self.run).thread
        if not thread:
            raise Fault("CRASH", f"{node.routine} wants to sleep on an idle CPU: only a thread can", node.routine)
        return self.m.threads[thread].status

    def _schedule(self, op: ops.Schedule, node: Node) -> None:
        run = self.view.get(self.run)
        status = self._status(node)
        if self.view.get(status) != "about to sleep":
            return
        self._drained()
        if not self.view.get(self.m.cpus[self.c].flag) or self.view.get(self.m.threads[run.thread].unpreemptible):
            self._fails("sleeps with interrupts off, preemption disabled or a lock held", node, run.thread)
        self.view.set(status, "sleeping")
        self.emit(ev.Slept(self.c, run.thread))
        frames = self.frames
        self.put_frames((*frames[:-1], frames[-1]._replace(node=node.child(None))))
        self.switch_out(preempted=False)

    def _wake(self, op: ops.Wake, node: Node) -> bool:
        thread = self.m.threads.get(op.thread)
        if thread is None:
            raise Fault("CRASH", f"{node.routine} wakes {op.thread}, which is no thread of this scenario", node.routine)
        was = self.view.get(thread.status)
        self.emit(ev.Woken(self.c, op.thread, node.routine, was))
        if was in ("sleeping", "about to sleep"):
            self.view.set(thread.status, "runnable")
            return True
        return False

    def _relax(self, op: ops.Relax, node: Node) -> None:
        if not node.reads:
            raise Fault(
                "CRASH",
                f"{node.routine} calls relax without having read anything: nothing could end the wait",
                node.routine,
            )
        for at, mask, seen in node.reads:
            shared = self.m.assembly.shared(at, node.routine)
            if shared.guarded_by and not shared.read_freely:  # read under a lock, which the loop has dropped
                now = meaning.seen(self.view.get(self.m.memory[at]), mask)
            else:
                now = self._load(ops.Load(at, mask), node)
            if now != seen:
                return
        raise Blocked

    def _choose(self, op: ops.Choose, node: Node) -> int:
        return self.view.pick(len(op.options))

    def _cpu_id(self, op: ops.CpuId, node: Node) -> int:
        return self.c

    def _assert(self, op: ops.Assert, node: Node) -> None:
        """An assertion about who holds a lock is about a race; any other is the code's own guarantee."""
        if op.held and not self.m.assembly.shared(op.held, node.routine).lock:
            raise Fault("CRASH", f"{node.routine} asserts that {op.held} is held, which is not a lock", node.routine)
        if op.held and self.holds(op.held):
            return
        if op.interrupts is not None and self.view.get(self.m.cpus[self.c].flag) == op.interrupts:
            return
        self.view.notes.append(Note(facts.Fails(op.what, routine=node.routine), node))
        where = f" at {node.site}" if node.site else ""
        unlike = f", but {self._holder()} does not hold {op.held}" if op.held else ""
        reason = f"{node.routine} asserts{where}: {op.what}{unlike}"
        self.view.findings.append(
            Breach("RACE" if op.held else "ASSERTION", reason, about(*(op.held,) * bool(op.held)))
        )

    def _fails(self, what: str, node: Node, at: str) -> None:
        """What a kernel asserts for everybody: where it warns and goes on, so does this."""
        self.view.notes.append(Note(facts.Fails(what, routine=node.routine), node))
        self.view.findings.append(Breach("ASSERTION", f"{node.routine} {what}", about(at)))

    def _list_of(self, op: ops.ListOf, node: Node) -> int:
        for n, at in enumerate(op.lists):
            if not isinstance(self.m.assembly.shared(at, node.routine).initial, tuple):
                raise Fault("CRASH", f"{node.routine} looks for {op.name} on {at}, which is no list", node.routine)
            if op.name in self.view.get(self.m.memory[at]):
                return n
        return -1

    def _atomic(self, op: ops.Atomic, node: Node) -> None:
        if self.c >= 0 and self.frames[-1].kind != "hardware":
            raise Fault(
                "CRASH", f"{node.routine} is software: only hardware changes several words in one step", node.routine
            )
        self.atomic = op.on


def _allowed(owner: str) -> str:
    return f"what runs on {owner}" if owner.startswith("cpu") else f"{owner}'s own thread and the processor running it"


HARDWARE = ops.Load | ops.Store | ops.Rmw | ops.Atomic | ops.SendIpi | ops.Choose | ops.Fence | ops.Relax

_DO: dict[type[Any], Any] = {
    ops.Load: Operations._load,
    ops.Store: Operations._store,
    ops.Rmw: Operations._rmw,
    ops.Fence: Operations._fence,
    ops.Interrupts: Operations._interrupts,
    ops.Preemption: Operations._preemption,
    ops.SendIpi: Operations._send_ipi,
    ops.Lock: Operations._lock,
    ops.Unlock: Operations._unlock,
    ops.EnterGuest: Operations._enter_guest,
    ops.ExitGuest: Operations._exit_guest,
    ops.Deliver: Operations._deliver,
    ops.PrepareToBlock: Operations._prepare,
    ops.FinishBlock: Operations._finish,
    ops.Schedule: Operations._schedule,
    ops.Wake: Operations._wake,
    ops.Relax: Operations._relax,
    ops.Choose: Operations._choose,
    ops.CpuId: Operations._cpu_id,
    ops.Assert: Operations._assert,
    ops.ListOf: Operations._list_of,
    ops.Atomic: Operations._atomic,
}
