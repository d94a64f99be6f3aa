"""Native code as an implementation: compiled by its own compiler with `-fsanitize=thread`, linked with our runtime."""

from conformance.adapters.native.build import NativeError, NativeUnavailableError
from conformance.adapters.native.described import adapter
from conformance.adapters.native.program import NativeProgram

__all__ = ["NativeError", "NativeProgram", "NativeUnavailableError", "adapter"]
