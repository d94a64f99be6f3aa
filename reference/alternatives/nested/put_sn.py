"""Nested posted interrupts where put suppresses L1's notifications unless it enables the wakeup handler, as from 2025 on.

What is not told here is as in `reference.nested.kvm` and `reference.alternatives.x86.kvm_put_sn`. SN is of L1's descriptor, and
software that sends L2's notification does not ask it.
"""

from __future__ import annotations

from typing import ClassVar

from reference.alternatives.x86.kvm_put_sn import KvmPutSn
from reference.nested.kvm import NestedKvm
from reference.x86.kvm import Kvm


class NestedPutSn(NestedKvm):
    """KVM's nested posted interrupts with the newer put rule."""

    software: ClassVar[type[Kvm]] = KvmPutSn
