"""The executable specification: processor, VT-d and KVM's software. One sitting is enough to read it against the
manuals.
"""

from __future__ import annotations

from conformance.adapters.registry import AdapterError, Implementation, of_classes


def adapter(argument: str) -> Implementation:
    """The reference: the processor and VT-d as their manuals say, KVM's software as of Linux 6.1."""
    if argument:
        raise AdapterError(f"reference takes no argument after a colon: {argument!r}")
    from reference.kvm import Kvm
    from reference.x86.iommu import ReferenceIommu
    from reference.x86.processor import ReferenceProcessor

    return of_classes("reference", "reference", ReferenceProcessor, ReferenceIommu, Kvm)
