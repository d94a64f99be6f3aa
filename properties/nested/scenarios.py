"""The scenarios of nested posted interrupts: data, each small enough to be exhausted. `GOLDEN` pins the reference's state counts.

A vCPU begins in L1, which enters L2 by vmlaunch: 1 with posted interrupts, 0 without. Other vCPUs of L1, and requesters, are
threads on pCPUs of their own.
"""

from __future__ import annotations

from conformance.roles.nested import NPINV, PINV12
from conformance.roles.scenario import Action, Argument, Budget, Scenario, Thread, VcpuSetup
from conformance.roles.x86 import HIGH, LOW

LAUNCH: tuple[Action, ...] = (("vmlaunch", 1),)


def l1(routine: str, cpu: int, *args: Argument, vcpu: str = "vcpu0", after: str = "") -> Thread:
    """A thread of L1's, or of L0's on its behalf."""
    return Thread(f"l1-{cpu}", routine, (vcpu, *args), cpu, after)


def scenario(
    name: str, about: str, *threads: Thread, program: tuple[Action, ...] = LAUNCH, cpus: int = 0, **more: object
) -> Scenario:
    given = {"vcpus": (VcpuSetup(0, program),), "vectors": (HIGH,), **more}
    return Scenario(
        name=name, about=about, architecture="nested", cpus=cpus or 1 + len(threads), threads=threads, **given
    )  # type: ignore[arg-type]


SCENARIOS: tuple[Scenario, ...] = (
    scenario(
        "nested-post",
        "L1 posts to L2, which stays in its guest but for one exit",
        l1("l1_posts", 1, HIGH),
        budget=Budget(exit=1),
    ),
    scenario(
        "nested-hlt",
        "L1 posts to L2, which halts",
        l1("l1_posts", 1, HIGH),
        program=(*LAUNCH, ("hlt",)),
    ),
    scenario(
        "nested-order",
        "L1 posts a vector to L2, and once its notification is sent a higher one without",
        l1("l1_posts", 1, LOW),
        l1("l1_prepares", 2, HIGH, after="l1-1"),
        vectors=(LOW, HIGH),
    ),
    scenario(
        "nested-polled",
        "L1 posts a vector to L2, waits until PIR12 is empty and posts another one without a notification; one exit",
        l1("l1_posts", 1, LOW),
        l1("l1_waits", 2, LOW, HIGH, after="l1-1"),
        vectors=(LOW, HIGH),
        budget=Budget(exit=1),
    ),
    scenario(
        "nested-silent",
        "L1 posts to L2 and notifies nobody; L2 exits once",
        l1("l1_prepares", 1, HIGH),
        budget=Budget(exit=1),
    ),
    scenario(
        "nested-pending",
        "L1 closes interrupts and enters L2, to which its other vCPU posts meanwhile",
        l1("l1_posts", 1, HIGH),
        program=(("cli",), *LAUNCH),
    ),
    scenario(
        "nested-again",
        "L1 posts to L2, which exits to L1 and is entered again",
        l1("l1_posts", 1, HIGH),
        program=(*LAUNCH, ("io",), *LAUNCH),
    ),
    scenario(
        "nested-switch",
        "L1 runs L2 with posted interrupts, then one without; its other vCPU sends PINV12",
        l1("deliver_interrupt", 1, PINV12),
        program=(*LAUNCH, ("io",), ("vmlaunch", 0)),
        vectors=(PINV12,),
    ),
    scenario(
        "nested-own",
        "an interrupt of L1's own comes while L2 runs",
        l1("deliver_interrupt", 1, LOW),
        vectors=(LOW,),
    ),
    scenario(
        "nested-eoi",
        "L1 has a vector in service, which L2 ends; a lower one is sent to L1",
        l1("deliver_interrupt", 1, LOW),
        program=(("vmlaunch", 0), ("apic_eoi",), ("io",)),
        vectors=(LOW, HIGH),
        initial=(("vcpu0.svi", HIGH), ("vcpu0.visr[3]", 1 << HIGH % 64)),
    ),
    scenario(
        "nested-shared",
        "two L2s share a pCPU; L1 has posted to the second one without a notification, and posts to the first, which halts",
        l1("l1_posts", 1, HIGH),
        vcpus=(VcpuSetup(0, (*LAUNCH, ("hlt",))), VcpuSetup(0, LAUNCH)),
        initial=(("vcpu1.l2.pid.pir[3]", 1 << HIGH % 64), ("vcpu1.l2.pid.control", PINV12 << 16 | 1)),
        loaded=False,
    ),
    scenario(
        "nested-kicked",
        "L1 posts to L2, of which something is requested meanwhile",
        l1("l1_posts", 1, HIGH),
        l1("make_request", 2),
    ),
    scenario(
        "nested-spurious",
        "L1 posts to L2; a notification comes for nothing, and L2 exits once",
        l1("l1_posts", 1, HIGH),
        budget=Budget(exit=1, spurious=((NPINV, 0),)),
    ),
    scenario(
        "nested-buffered",
        "L1 posts to L2, every pCPU with a store buffer",
        l1("l1_posts", 1, HIGH),
        buffer=1,
        audited=True,
    ),
    scenario(
        "requests",
        "two requesters ask something of a vCPU that exits once",
        l1("make_request", 1),
        l1("make_request", 2),
        program=(),
        budget=Budget(exit=1),
    ),
    scenario(
        "shadow-pages",
        "a vCPU walks shadow page tables of which a page is freed meanwhile",
        l1("free_page", 1),
        program=(("touch",),),
    ),
)

GOLDEN: dict[str, int] = {
    "nested-post": 3_395,
    "nested-hlt": 3_448,
    "nested-order": 2_920,
    "nested-polled": 7_690,
    "nested-silent": 170,
    "nested-pending": 1_350,
    "nested-again": 3_703,
    "nested-switch": 2_755,
    "nested-own": 1_034,
    "nested-eoi": 2_714,
    "nested-shared": 8_056,
    "nested-kicked": 30_181,
    "nested-spurious": 13_576,
    "nested-buffered": 1_904,
    "requests": 3_480,
    "shadow-pages": 1_268,
    "nested-post/buffered": 5_933,
    "nested-hlt/buffered": 5_552,
    "nested-order/buffered": 4_309,
    "nested-polled/buffered": 12_525,
    "nested-silent/buffered": 360,
    "nested-pending/buffered": 2_182,
    "nested-again/buffered": 7_003,
    "nested-switch/buffered": 5_384,
    "nested-own/buffered": 1_814,
    "nested-eoi/buffered": 4_584,
    "nested-shared/buffered": 14_145,
    "nested-kicked/buffered": 50_096,
    "nested-spurious/buffered": 23_804,
    "requests/buffered": 6_715,
    "shadow-pages/buffered": 2_639,
}
"""States of each scenario with the reference, every monitor attached."""
