"""Native code as an implementation: compiled by its own compiler with `-fsanitize=thread`, linked with our runtime."""

from conformance.adapters.native.program import NativeError, NativeProgram, NativeUnavailableError

__all__ = ["NativeError", "NativeProgram", "NativeUnavailableError"]
