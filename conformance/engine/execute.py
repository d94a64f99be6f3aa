"""What an operation does: one step of a CPU or device.

A step is one operation that others can notice, with everything private that follows it: locations only this vCPU's
thread touches, locations guarded by a lock the CPU holds, choices, calls and returns. Merging those loses no behaviour,
because no other agent's step could tell the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.engine import events as ev
from conformance.engine import operations as ops
from conformance.engine.state import Cell, NotEnabled, View
from conformance.engine.unfold import Fault, Node

if TYPE_CHECKING:
    from conformance.engine.machine import Frame, Machine


class Blocked(Exception):
    """The operation has to wait."""


class Execution:
    """One step on CPU `c` (-1: a device, whose frames are in `run`)."""

    def __init__(self, machine: Machine, view: View, c: int, run: Cell[Any]) -> None:
        self.m, self.view, self.c, self.run = machine, view, c, run
        self.atomic = False
        self.switched = False
        self.steps = 0

    # Frames

    @property
    def frames(self) -> tuple[Frame, ...]:
        run = self.view.get(self.run)
        return run if self.c < 0 else run.frames

    def put_frames(self, frames: tuple[Frame, ...], **changes: Any) -> None:
        run = self.view.get(self.run)
        self.view.set(self.run, frames if self.c < 0 else run._replace(frames=frames, **changes))

    def push(self, kind: str, routine: str, args: tuple[ops.Result, ...], **changes: Any) -> None:
        from conformance.engine.machine import Frame

        self.put_frames((*self.frames, Frame(kind, self.m.assembly.root(routine, args))), **changes)
        self.emit(ev.Called(self.c, routine, args))

    def emit(self, event: ev.Event) -> None:
        self.m.emit(self.view, event)

    def owner(self) -> str:
        """The vCPU whose private locations this step may touch. Not a handler: it comes between the thread's steps."""
        if self.c < 0 or self.frames[-1].kind == "handler":
            return ""
        run = self.view.get(self.run)
        return run.guest or run.thread

    # Ways a step begins

    def device_step(self) -> None:
        if not self.frames:
            raise NotEnabled
        self.go_on()

    def take_interrupt(self) -> None:
        """The host takes its highest latched vector: interrupts off, handler on top."""
        cpu = self.m.cpus[self.c]
        self._wait_for_drain()
        latched = self.view.get(cpu.latched)
        vector = latched.bit_length() - 1
        self.view.set(cpu.latched, latched & ~(1 << vector))
        self.view.lane = 1
        self.view.notes.append(("takes", vector))
        self.emit(ev.Taken(self.c, vector, ""))
        call = self.m.interrupt_calls.get((vector, self.c))
        handler = self.m.assembly.handlers.get(vector)
        if call is None and handler is None:
            return
        self.view.set(cpu.flag, False)
        routine, args = call or (str(handler), (self.c,))
        self.push("handler", routine, args)
        self.go_on(noticed=True)

    def guest_step(self) -> None:
        """At an instruction boundary in non-root mode the processor decides; if it has nothing to do, the guest goes
        on.
        """
        cpu = self.m.cpus[self.c]
        vcpu = self.view.get(self.run).guest
        latched = self.view.get(cpu.latched)
        pending = tuple(v for v in range(latched.bit_length()) if latched >> v & 1)
        match self._boundary(vcpu, pending):
            case ("deliver",):
                self.push("hardware", "deliver", (vcpu,))
            case ("acknowledge", int(vector)) if vector in pending:
                self.view.set(cpu.latched, latched & ~(1 << vector))
                self.view.notes.append(("acknowledges", vector))
                self.emit(ev.Taken(self.c, vector, vcpu))
                self.push("hardware", "acknowledge", (vcpu, vector))
            case None:
                self._guest_acts(vcpu)
            case other:
                raise Fault(
                    "CRASH",
                    f"boundary answered {other}; it must be None, ('deliver',) or ('acknowledge', pending vector)",
                )
        self.go_on()

    def _boundary(self, vcpu: str, pending: tuple[int, ...]) -> ops.Result:
        node = self.m.assembly.root("boundary", (vcpu, pending))
        while not isinstance(node.answer, ops.Return):
            if self.noticeable(node.answer, node.routine):
                raise Fault(
                    "CRASH", f"boundary may only look at the vCPU's private state, not do {node.answer}", "boundary"
                )
            node = node.child(self.perform(node.answer, node))
        return node.answer.value

    def _guest_acts(self, vcpu: str) -> None:
        position, in_service = self.view.get(self.m.guests[vcpu])
        program = self.m.programs[vcpu]
        if in_service:
            action: tuple[int | str, ...] = ("end_of_interrupt",)
            self.view.set(self.m.guests[vcpu], (position, in_service[:-1]))
        elif self.view.get(self.m.memory[f"{vcpu}.halted"]) or position >= len(program):
            raise NotEnabled
        else:
            action = program[position]
            self.view.set(self.m.guests[vcpu], (position + 1, in_service))
        self.view.notes.append(("guest", action))
        self.emit(ev.GuestActed(self.c, vcpu, action))
        self.push("hardware", "instruction", (vcpu, *action))

    # The step itself

    def go_on(self, noticed: bool = False) -> None:
        """Run the top frame: private operations, one that others notice, and the private ones after it."""
        if self.frames and self.frames[-1].kind == "handler":
            self.view.lane = 1
        while self.frames and not self._at_boundary():
            node = self.frames[-1].node
            answer = node.answer
            if not self.atomic and noticed and self.noticeable(answer, node.routine):
                return
            self.steps += 1
            if self.steps > 2000:
                raise Fault(
                    "UNKNOWN", f"{node.routine} goes on for ever without an operation that others notice", node.routine
                )
            if isinstance(answer, ops.Return):
                if not self._return(answer):
                    if noticed:
                        return
                    raise NotEnabled
                continue
            now = self.noticeable(answer, node.routine)
            try:
                result = self.perform(answer, node)
            except Blocked:
                raise NotEnabled from None
            if self.switched:
                return
            self._advance(node, result)
            noticed = noticed or (now and not self.atomic) or isinstance(answer, ops.ExitGuest)
            noticed = noticed or (isinstance(answer, ops.Atomic) and not answer.on)

    def _at_boundary(self) -> bool:
        return self.c >= 0 and bool(self.view.get(self.run).guest) and self.frames[-1].kind != "hardware"

    def _advance(self, node: Node, result: ops.Result) -> None:
        """Move the frame that performed the operation on, wherever the operation left it."""
        answer = node.answer
        if isinstance(answer, ops.EnterGuest | ops.ExitGuest):
            return
        frames = self.frames
        self.put_frames((*frames[:-1], frames[-1]._replace(node=node.child(result))))

    def _return(self, answer: ops.Return) -> bool:
        """End the top call; False if it has to wait for a drain."""
        frames = self.frames
        top = frames[-1]
        if top.kind in ("handler", "put") and self.m.depth and self.view.get(self.m.cpus[self.c].buffer):
            return False
        self.emit(ev.Returned(self.c, top.node.routine, top.node.args, answer.value))
        if answer.then:
            routine, *args = answer.then
            self.put_frames(frames[:-1])
            self.push(top.kind, str(routine), tuple(args))
            return True
        self.put_frames(frames[:-1])
        match top.kind:
            case "handler":
                self.view.set(self.m.cpus[self.c].flag, True)
            case "put":
                self._off_cpu()
            case "load":
                self.emit(ev.SwitchedIn(self.c, self.view.get(self.run).thread))
            case "thread" if self.c >= 0:
                thread = self.view.get(self.run).thread
                self.view.set(self.m.threads[thread].status, "done")
                self.put_frames((), thread="")
            case _:
                pass
        return True

    # Context switches

    def switch_in(self, waiting: list[str]) -> None:
        if not waiting:
            raise NotEnabled
        name = waiting[self.view.pick(len(waiting))]
        thread = self.m.threads[name]
        self.put_frames(self.view.get(thread.saved), thread=name)
        self.view.set(thread.saved, ())
        self.view.notes.append(("switches in", name))
        if name in self.m.guests:
            self.push("load", "load", (name, self.c))
            self.go_on(noticed=True)

    def switch_out(self, preempted: bool) -> None:
        self.switched = True
        thread = self.view.get(self.run).thread
        self.view.set(self.m.cpus[self.c].flag, False)
        if thread in self.m.guests:
            self.push("put", "put", (thread, preempted))
            put = Execution(self.m, self.view, self.c, self.run)
            put.go_on(noticed=True)
        else:
            self._off_cpu()

    def _off_cpu(self) -> None:
        from conformance.engine.machine import Run

        run = self.view.get(self.run)
        self.view.set(self.m.threads[run.thread].saved, run.frames)
        self.view.set(self.run, Run())
        self.view.set(self.m.cpus[self.c].flag, True)
        asleep = self.view.get(self.m.threads[run.thread].status) == "sleeping"
        self.emit(ev.SwitchedOut(self.c, run.thread, not asleep))

    # Operations

    def noticeable(self, answer: ops.Answer, routine: str) -> bool:
        """Whether another agent could notice when this happens."""
        match answer:
            case ops.Load() | ops.Store() | ops.Rmw():
                shared = self.m.assembly.shared(answer.at, routine)
                if shared.constant:
                    return False
                if shared.private_to:
                    return shared.private_to != self.owner()
                return not (shared.guarded_by and self.holds(shared.guarded_by))
            case ops.Return() | ops.Choose() | ops.ExitGuest() | ops.Deliver():
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
        result: ops.Result = _DO[type(answer)](self, answer, node)
        if not isinstance(answer, QUIET):
            self.view.notes.append((node.routine, answer, result))
        self.emit(ev.Asked(self.c, node.routine, answer, result))
        return result

    def _wait_for_drain(self) -> None:
        if self.m.depth and self.c >= 0 and self.view.get(self.m.cpus[self.c].buffer):
            raise NotEnabled

    def holds(self, lock: str) -> bool:
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
        if shared.private_to and shared.private_to != self.owner():
            self.view.breaches.append(
                ("RACE", f"{node.routine} touched {at} {self._where(shared.private_to)}: only {shared.private_to}'s own thread and "
                 f"the processor running it may")
            )  # fmt: skip
        if shared.guarded_by and not self.holds(shared.guarded_by):
            self.view.breaches.append(
                ("RACE", f"{node.routine} {'wrote' if writes else 'read'} {at} without holding {shared.guarded_by}, which "
                 f"guards it against {self._others(at, node.routine)}")
            )  # fmt: skip
        return bool(shared.private_to or shared.guarded_by or shared.constant)

    def _where(self, vcpu: str) -> str:
        if self.c < 0:
            return "on a device"
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
                    word = _merged(word, value, mask)
        return word & op.mask if isinstance(word, int) else word

    def _store(self, op: ops.Store, node: Node) -> None:
        direct = self._check_access(op.at, node, writes=True)
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
        new = _merged(old, value, mask)
        bits = value & mask if isinstance(value, int) else 0
        self.view.set(cell, new)
        self.emit(ev.Changed(self.c, routine, at, old, new, bits))

    def _rmw(self, op: ops.Rmw, node: Node) -> int:
        self._drained()
        self._check_access(op.at, node, writes=True)
        old = self.view.get(self.m.memory[op.at])
        if not isinstance(old, int):
            raise Fault("CRASH", f"{node.routine} does arithmetic on {op.at}, which holds a list", node.routine)
        old_bits = old & op.mask
        new = op.new(old_bits)
        if op.how != "cas" or old_bits == op.expect & op.mask:
            self.view.set(self.m.memory[op.at], old & ~op.mask | new)
            set_bits = {"or": op.value & op.mask, "xor": new & ~old_bits, "and": 0}.get(op.how, new)
            self.emit(ev.Changed(self.c, node.routine, op.at, old, old & ~op.mask | new, set_bits))
        return old_bits

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
            raise Fault(
                "CRASH", f"{node.routine} enables preemption, or unlocks, more often than it disabled it", node.routine
            )
        self.view.set(depth, now)

    def _send_ipi(self, op: ops.SendIpi, node: Node) -> None:
        to = self.c if op.to is None else op.to
        known = 0 <= to < len(self.m.cpus)
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
            raise Fault("CRASH", f"{node.routine} unlocks {op.at}, which {self._holder()} does not hold", node.routine)
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
        self.view.notes.append(("exits", run.guest, reason))
        if reason[0] == "interrupt" and isinstance(reason[1], int):
            # Acknowledged on exit: the host runs its handler as soon as interrupts are on (KVM: before that, inline).
            latched = self.m.cpus[self.c].latched
            self.view.set(latched, self.view.get(latched) | 1 << reason[1])
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
        self.view.notes.append(("delivers", vcpu, op.vector))
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
            raise Fault(
                "CRASH", f"{node.routine} sleeps with interrupts off, preemption disabled or a lock held", node.routine
            )
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
            now = self._load(ops.Load(at, mask), node)
            if now != seen:
                return
        raise Blocked

    def _choose(self, op: ops.Choose, node: Node) -> int:
        return self.view.pick(len(op.options))

    def _cpu_id(self, op: ops.CpuId, node: Node) -> int:
        return self.c

    def _atomic(self, op: ops.Atomic, node: Node) -> None:
        if self.c >= 0 and self.frames[-1].kind != "hardware":
            raise Fault(
                "CRASH", f"{node.routine} is software: only hardware changes several words in one step", node.routine
            )
        self.atomic = op.on


def _merged(word: ops.Value, value: ops.Value, mask: int) -> ops.Value:
    """What a location holds after a store; a list is stored whole."""
    return word & ~mask | value & mask if isinstance(word, int) and isinstance(value, int) else value


HARDWARE = ops.Load | ops.Store | ops.Rmw | ops.Atomic | ops.SendIpi | ops.Choose | ops.Fence | ops.Relax
QUIET = ops.Choose | ops.CpuId | ops.Atomic | ops.ExitGuest | ops.Deliver

_DO: dict[type[Any], Any] = {
    ops.Load: Execution._load,
    ops.Store: Execution._store,
    ops.Rmw: Execution._rmw,
    ops.Fence: Execution._fence,
    ops.Interrupts: Execution._interrupts,
    ops.Preemption: Execution._preemption,
    ops.SendIpi: Execution._send_ipi,
    ops.Lock: Execution._lock,
    ops.Unlock: Execution._unlock,
    ops.EnterGuest: Execution._enter_guest,
    ops.ExitGuest: Execution._exit_guest,
    ops.Deliver: Execution._deliver,
    ops.PrepareToBlock: Execution._prepare,
    ops.FinishBlock: Execution._finish,
    ops.Schedule: Execution._schedule,
    ops.Wake: Execution._wake,
    ops.Relax: Execution._relax,
    ops.Choose: Execution._choose,
    ops.CpuId: Execution._cpu_id,
    ops.Atomic: Execution._atomic,
}
