"""The executable specification: processor and VT-d, virtual GIC and ITS, and KVM's software for both, nested too. One sitting is
enough to read an architecture against its manuals.
"""

from __future__ import annotations

from conformance.adapters.registry import AdapterError, Implementation, of_classes


def adapter(argument: str) -> Implementation:
    """The reference: hardware as the manuals say it; KVM's software as of Linux 6.1 on x86, of 6.19 on Arm."""
    if argument:
        raise AdapterError(f"reference takes no argument after a colon: {argument!r}")
    from reference.arm.its import ReferenceIts
    from reference.arm.kvm import KvmArm
    from reference.arm.virtual_interface import ReferenceVirtualInterface
    from reference.nested.kvm import NestedKvm
    from reference.nested.l1 import ReferenceL1
    from reference.nested.processor import ReferenceNestedProcessor
    from reference.x86.iommu import ReferenceIommu
    from reference.x86.kvm import Kvm
    from reference.x86.processor import ReferenceProcessor

    x86, arm = (ReferenceProcessor, ReferenceIommu, Kvm), (ReferenceVirtualInterface, ReferenceIts, KvmArm)
    nested = (ReferenceNestedProcessor, ReferenceL1, NestedKvm)
    return of_classes("reference", "reference", *x86, *nested, *arm)
