"""One step of a CPU or device: how it begins, how far it goes, and what a context switch runs.

A step is one operation that others can notice, with everything private that follows it: locations only this vCPU's
thread touches, locations guarded by a lock the CPU holds, choices, calls and returns. Merging those loses no behaviour,
because no other agent's step could tell the difference.
"""

from __future__ import annotations

from typing import Any

from conformance.adapters.source import Fault
from conformance.automaton.unfold import LONGEST_CALL, Node, too_long
from conformance.machine import events as ev
from conformance.machine import facts
from conformance.machine.levels import takeable
from conformance.machine.parts import Frame, Running
from conformance.machine.perform import Blocked, Operations
from conformance.machine.state import Note, NotEnabled
from conformance.roles import operations as ops
from conformance.roles.scenario import Device, Thread

FEW_STEPS, MOST_STEPS = 16, 2000
"""Operations of one step after which it is tried for going round, as Brent does, and given up."""


class Stepping(Operations):
    """One step on CPU `c` (-1: a device, whose frames are in `run`)."""

    # Ways a step begins

    def device_step(self, device: Device) -> None:
        if not self.frames:
            raise NotEnabled
        self._begin(device)
        self.go_on()

    def thread_step(self, thread: Thread | None) -> None:
        if thread:
            self._begin(thread)
        self.go_on()

    def _begin(self, agent: Device | Thread) -> None:
        """The call that a thread or device starts with begins with its first step."""
        if len(self.frames) == 1 and self.frames[0].node is self.m.assembly.root(agent.routine, agent.args):
            self.emit(ev.Called(self.c, agent.routine, agent.args))

    def take_interrupt(self) -> None:
        """The host takes its highest latched vector: interrupts off, handler on top."""
        cpu = self.m.cpus[self.c]
        self._wait_for_drain()
        latched = takeable(self.m, self.view, self.c)
        vector = latched.bit_length() - 1
        self.view.set(cpu.latched, latched & ~(1 << vector))
        self.view.lane = 1
        self.view.notes.append(Note(facts.Takes(vector)))
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
        latched = takeable(self.m, self.view, self.c)
        pending = tuple(v for v in range(latched.bit_length()) if latched >> v & 1)
        match self._boundary(vcpu, pending):
            case ("deliver",):
                self.push("hardware", "deliver", (vcpu,))
            case ("acknowledge", int(vector)) if vector in pending:
                self.view.set(cpu.latched, latched & ~(1 << vector))
                self.view.notes.append(Note(facts.Acknowledges(vector)))
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
            if not isinstance(node.answer, ops.Load) and self.noticeable(node.answer, node.routine):
                raise Fault("CRASH", f"boundary may only look, not do {node.answer}", "boundary")
            self.steps += 1
            if self.steps > LONGEST_CALL:
                raise too_long(node)
            node = node.child(self.perform(node.answer, node))
        return node.answer.value

    def _guest_acts(self, vcpu: str) -> None:
        position, in_service = self.view.get(self.m.guests[vcpu])
        program = self.m.programs[vcpu]
        if in_service:
            action, left = self.m.assembly.architecture.completion(in_service[-1], self.m.scenario)
            self.view.set(self.m.guests[vcpu], (position, (*in_service[:-1], *left)))
        elif self.view.get(self.m.memory[f"{vcpu}.halted"]) or position >= len(program):
            raise NotEnabled
        else:
            action = program[position]
            self.view.set(self.m.guests[vcpu], (position + 1, in_service))
        self.view.notes.append(Note(facts.GuestDoes(action)))
        self.emit(ev.GuestActed(self.c, vcpu, action))
        self.push("hardware", "instruction", (vcpu, *action))

    # The step itself

    def go_on(self, noticed: bool = False) -> None:
        """Run the top frame: private operations, one that others notice, and the private ones after it. What comes round to
        where it was is a step, too: one that leads nowhere, so that the search sees a LIVELOCK.
        """
        if self.frames and self.frames[-1].kind == "handler":
            self.view.lane = 1
        been: tuple[Any, ...] = ()
        while (top := self._top()) is not None:
            node = top.node
            answer = node.answer
            looks = self.atomic or not noticed  # else it goes on only as long as nobody can tell
            if not looks and self.noticeable(answer, node.routine):
                return
            self.steps += 1
            if self.steps > FEW_STEPS and not self.atomic:
                here = (dict(self.view.writes), len(self.view.taken))
                if here == been:
                    return
                been = here if self.steps & (self.steps - 1) == 0 else been
            if self.steps > MOST_STEPS:
                raise Fault(
                    "UNKNOWN", f"{node.routine} goes on for ever without an operation that others notice", node.routine
                )
            if isinstance(answer, ops.Return):
                if not self._return(answer):
                    if noticed:
                        return
                    raise NotEnabled
                continue
            now = looks and self.noticeable(answer, node.routine)
            try:
                result = self.perform(answer, node)
            except Blocked:
                if noticed and not self.atomic:
                    return  # what came before stands: the store it waits for may be this step's own
                raise NotEnabled from None
            if self.switched:
                return
            self._advance(node, result)
            noticed = noticed or (now and not self.atomic) or isinstance(answer, ops.ExitGuest)
            noticed = noticed or (isinstance(answer, ops.Atomic) and not answer.on)

    def _top(self) -> Frame | None:
        """The frame to go on with; None if there is none, or the processor is at an instruction boundary of a guest."""
        run = self.view.get(self.run)
        if self.c < 0:
            return run[-1] if run else None
        return run.frames[-1] if run.frames and (not run.guest or run.frames[-1].kind == "hardware") else None

    def _advance(self, node: Node, result: ops.Result) -> None:
        """Move the frame that performed the operation on, wherever the operation left it."""
        answer = node.answer
        if isinstance(answer, ops.EnterGuest | ops.ExitGuest):
            return
        frames = self.frames
        self.put_frames((*frames[:-1], Frame(frames[-1].kind, node.child(result))))

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
                self.view.notes.append(Note(facts.Returns(routine=top.node.routine)))
            case "put":
                self._off_cpu()
            case "load":
                self.emit(ev.SwitchedIn(self.c, self.view.get(self.run).thread))
            case "thread" if self.c >= 0:
                self._end_thread(top.node)
            case _:
                pass
        return True

    def _end_thread(self, node: Node) -> None:
        """A vCPU's thread has no end: what was posted to a vCPU that nobody runs any more could be lost unnoticed."""
        thread = self.view.get(self.run).thread
        if thread in self.m.guests and self.m.assembly.architecture.roles:
            raise Fault(
                "CRASH",
                f"{node.routine} returned and named no routine where {thread}'s thread goes on, so its guest would never "
                'run again: return Then("vcpu_run", vcpu), or whatever comes next',
                node.routine,
            )
        self.view.set(self.m.threads[thread].status, "done")
        self.put_frames((), thread="")

    # Context switches

    def switch_in(self, waiting: list[str]) -> None:
        if not waiting:
            raise NotEnabled
        name = waiting[self.view.pick(len(waiting))]
        thread = self.m.threads[name]
        self.put_frames(self.view.get(thread.saved), thread=name)
        self.view.set(thread.saved, ())
        self.view.notes.append(Note(facts.SwitchesIn(name)))
        if name in self.m.guests:
            self.push("load", "load", (name, self.c))
            self.go_on(noticed=True)

    def switch_out(self, preempted: bool) -> None:
        self.switched = True
        thread = self.view.get(self.run).thread
        self.view.set(self.m.cpus[self.c].flag, False)
        if thread in self.m.guests:
            self.push("put", "put", (thread, preempted))
            put = Stepping(self.m, self.view, self.c, self.run)
            put.go_on(noticed=True)
        else:
            self._off_cpu()

    def _off_cpu(self) -> None:
        run = self.view.get(self.run)
        self.view.set(self.m.threads[run.thread].saved, run.frames)
        self.view.set(self.run, Running())
        self.view.set(self.m.cpus[self.c].flag, True)
        self.view.notes.append(Note(facts.SwitchesOut(run.thread)))
        asleep = self.view.get(self.m.threads[run.thread].status) == "sleeping"
        self.emit(ev.SwitchedOut(self.c, run.thread, not asleep))
