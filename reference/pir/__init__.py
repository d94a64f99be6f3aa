"""The PIR scanner: 256-bit Posted Interrupt Requests into the virtual IRR. `harvest` is the one in use, `naive` the oracle
beside it, `compiled` the path through C.
"""
