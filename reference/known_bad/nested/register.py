"""The register of nested posted interrupts and vcpu->mode: B numbers are bugs that were shipped or proposed, N are mutants."""

from __future__ import annotations

from reference.alternatives.nested.emulated import NestedEmulated
from reference.alternatives.nested.generation_count import GenerationCount
from reference.known_bad.entries import SYNTHETIC, KnownBad, MustPass
from reference.known_bad.nested import levels, sender
from reference.nested.kvm import NestedKvm

EMULATED = "nested-emulated"
"""Base of what the reference does too, and KVM's maintainers accept."""
PROPOSAL = "P. Bonzini, KVM list, 24 Nov 2020, Message-ID e140ed23-df91-5da2-965a-e92b4a54e54e@redhat.com"

KNOWN_BAD: tuple[KnownBad, ...] = (
    KnownBad(
        "B29", "L2's sender requests an event by a plain store", sender.RequestsPlainly,
        ("NST-E2E-1", "NST-E2E-5"), ("KVM-NST-2",), "nested-buffered",
        "KVM list, 8 Dec 2021, Message-ID 20211208015236.1616697-3", memory="tso",
    ),
    KnownBad(
        "B30", "an interrupt for L1 found on the way into L2 requests nothing", levels.IgnoresArrivals,
        ("KVM-NST-12", "NST-E2E-4"), (), "nested-own", "KVM f27a85c4988d (2017)",
    ),
    KnownBad(
        "B32", "L2 that halts is not woken by what is posted to it", levels.LooksAtRviOnly,
        ("KVM-NST-7", "NST-E2E-1"), (), "nested-hlt", "KVM 27c4fa42b11a, 321ef62b0c5f (2024)",
    ),
    KnownBad(
        "B33", "PINV12 in L1's vIRR stays there when L2 is entered", levels.LeavesNotificationToL1,
        ("KVM-NST-5", "NST-E2E-1"), (), "nested-pending", "KVM 25bb2cf97139 (2020)",
    ),
    KnownBad(
        "B34", "L2's own notification makes it exit to L1", levels.ExitsWithNotification,
        ("KVM-NST-6",), (), "nested-post", "KVM 6e0b456547f4, 8c23670f2b00 (2024)",
    ),
    KnownBad(
        "B35", "the notification vector of another vmcs12 is kept", levels.KeepsNotificationVector,
        ("KVM-NST-8", "NST-E2E-4"), (), "nested-switch", "KVM 1ed0f119c5ff (2024)",
    ),
    KnownBad(
        "B36", "SVI keeps what L2 has ended", levels.StaleSvi,
        ("KVM-NST-13", "NST-E2E-4"), (), "nested-eoi", 'KVM, "Defer SVI update to vmcs01" (2025)',
    ),
    KnownBad(
        "B37", "RVI is L1's again only if the exit acknowledged an interrupt", levels.RviWithAcknowledgeOnly,
        ("NST-E2E-4",), (), "nested-eoi", "Xen f96e1469ad, mended by 55d035f8e9 and 25df013e7a (2020)",
    ),
    KnownBad(
        "B42", "a notification that the processor has taken is still noted as pending", NestedKvm,
        ("KVM-NST-9",), (), "nested-polled", "KVM, known and accepted since Nov 2020", base=EMULATED,
    ),
    KnownBad(
        "B44", "a notification that comes in root mode is remembered by nobody", GenerationCount,
        ("NST-E2E-1", "NST-E2E-5"), (), "nested-post", PROPOSAL,
    ),
    KnownBad(
        "B45", "a notification moves what was posted to the L2 that runs by now", GenerationCount,
        ("KVM-NST-11",), (), "nested-shared", PROPOSAL, base=EMULATED,
    ),
    KnownBad(
        "N01", "L0 looks at PIR12 at each entry", levels.HarvestsUnasked,
        ("KVM-NST-1",), (), "nested-silent", SYNTHETIC,
    ),
    KnownBad(
        "N02", "the sender reads mode before it notes anything", sender.NotesTooLate,
        ("NST-E2E-1", "NST-E2E-5"), ("KVM-NST-2",), "nested-post", SYNTHETIC,
    ),
    KnownBad(
        "N03", "L2's notification has L1's vector", sender.OneVector,
        (), ("KVM-NST-3",), "nested-post", SYNTHETIC,
    ),
    KnownBad(
        "N04", "RVI12 stays as it was", levels.ForgetsRvi,
        ("KVM-NST-4", "NST-E2E-1"), (), "nested-post", SYNTHETIC,
    ),
    KnownBad(
        "N05", "L0 leaves in PIR12 what it copied", levels.LeavesPosted,
        ("NST-E2E-3",), (), "nested-post", SYNTHETIC,
    ),
    KnownBad(
        "N06", "a pending notification is given to L1 too", levels.DeliversTwice,
        ("KVM-NST-10",), (), "nested-again", "considered and refused in the thread of B42 (25 Nov 2020)",
    ),
    KnownBad(
        "N07", "L1's vector is written to RVI12", levels.WritesRviOfL2,
        ("NST-E2E-2",), (), "nested-own", SYNTHETIC,
    ),
    KnownBad(
        "N08", "a sender that reads EXITING relies on the kick", sender.ReliesOnKick,
        ("MODE-4", "NST-E2E-1"), (), "nested-kicked", SYNTHETIC,
    ),
    KnownBad(
        "N09", "the requester looks at mode before it requests", sender.KicksFirst,
        ("MODE-2",), (), "requests", SYNTHETIC,
    ),
    KnownBad(
        "N10", "the requester writes mode where it should exchange it", sender.WritesMode,
        (), ("MODE-1",), "requests", SYNTHETIC,
    ),
    KnownBad(
        "N11", "a page is freed under a vCPU that reads the tables", sender.WaitsForGuestsOnly,
        ("MODE-5",), (), "shadow-pages", SYNTHETIC,
    ),
    KnownBad(
        "N12", "mode counts, and the sender looks once", sender.LooksOnce,
        (), ("MODE-6",), "nested-post", SYNTHETIC, base="generation-count",
    ),
)  # fmt: skip

MUST_PASS: tuple[MustPass, ...] = (
    MustPass("E9", "L0 does L2's posted-interrupt processing itself", NestedEmulated, "as KVM without the hardware"),
)

NOT_MODELLED: dict[str, str] = {}
