"""KVM's wakeup handler: whom it wakes (Linux 6.1, posted_intr.c, after d76fb40637fc)."""

from __future__ import annotations

from conformance.machine import events as ev
from conformance.machine.monitor import Look, Monitor
from conformance.roles.scenario import Scenario
from properties.x86.catalogue import KVM_RESIDENCY, LINUX, POSTED_INTR
from properties.x86.monitors import subjects
from properties.x86.monitors.registers import word

KVM_PI_12 = KVM_RESIDENCY.must(
    "KVM-PI-12",
    "The wakeup handler wakes every vCPU on its pCPU's list whose ON is set. It leaves them on the list; load "
    "removes them.",
    LINUX(f"{POSTED_INTR} pi_wakeup_handler", "Xen's handler removes"),
    premise="device posting or IPI virtualization",
    observe=(
        "After a wakeup handler no vCPU that was listed there with ON=1 when it looked is asleep, listed and unwoken; no change "
        "of a list by the handler takes one off."
    ),
)

KVM_PI_13 = KVM_RESIDENCY.may(
    "KVM-PI-13",
    "The wakeup handler may find nobody to wake, or wake a vCPU that is awake.",
    LINUX(f"{POSTED_INTR} pi_wakeup_handler"),
    premise="device posting or IPI virtualization",
    observe="A trace where a wakeup handler wakes nobody that sleeps.",
)


ON = 1


class WakeupHandler(Monitor):
    """Memory: the vCPUs this CPU's wakeup handler has to wake, or None as ()."""

    clauses = (KVM_PI_12,)
    witnesses = (KVM_PI_13,)
    events = (ev.Called, ev.Returned, ev.Woken, ev.Changed)

    def __init__(self, scenario: Scenario, cpu: int) -> None:
        self.scenario, self.cpu, self.name = scenario, cpu, f"cpu{cpu}.wakeup"
        self.memory: tuple[str, ...] = ()

    def on(self, event: ev.Event, memory: tuple[str, ...], look: Look) -> tuple[str, ...]:
        at = f"cpu{self.cpu}.wakeup_list"
        match event:
            case ev.Called(routine="wakeup_handler", args=(self.cpu,)) if look.has(at):
                due = tuple(
                    n
                    for n in names(look.value(at))
                    if word(look.value(f"{n}.pid.control")) & ON and look.status(n) in ("sleeping", "about to sleep")
                )
                look.witness(KVM_PI_12 if due else KVM_PI_13, at, f"cpu{self.cpu}")
                return due
            case ev.Changed(routine="wakeup_handler", cpu=self.cpu, old=old, new=new) if event.at == at:
                if gone := {*names(old)} - {*names(new)}:
                    said = f"the wakeup handler of cpu{self.cpu} takes {' and '.join(sorted(gone))} off its list: that is load's"
                    look.breach(KVM_PI_12, said, at, *sorted(gone))
            case ev.Woken(thread=thread):
                return tuple(n for n in memory if n != thread)
            case ev.Returned(routine="wakeup_handler", args=(self.cpu,)):
                for name in memory:
                    if look.status(name) in ("sleeping", "about to sleep") and name in names(look.value(at)):
                        said = f"the wakeup handler of cpu{self.cpu} leaves {name} asleep, listed and with ON = 1"
                        look.breach(KVM_PI_12, said, at, subjects.on(name), f"{name}.status", name)
                return ()
            case _:
                pass
        return memory


def names(value: object) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def monitors(scenario: Scenario) -> list[Monitor]:
    plain = {t.cpu for t in scenario.threads}
    return [WakeupHandler(scenario, c) for c in range(scenario.cpus) if c not in plain]
