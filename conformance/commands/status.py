"""Exit status beside those of `verdict.exit_status`, where click's own would be taken for a verdict."""

BAD_USAGE, FAILED, INTERRUPTED = 3, 4, 130

STATUS = """
Exit status: 0 nothing is violated; 1 something is; 2 nothing is violated, but something is undecided
(UNKNOWN, NOT EXERCISED of a guarantee, CRASH, TIMEOUT, NONDETERMINISTIC); 3 bad usage; 4 the suite itself
failed or was ended; 130 interrupted.
"""
