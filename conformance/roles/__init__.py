"""The architectures, by name: the roles of each are in the module of that name."""

from conformance.roles.architecture import Architecture
from conformance.roles.arm import ARM
from conformance.roles.x86 import X86

ARCHITECTURES: dict[str, Architecture] = {"x86": X86, "arm": ARM}
