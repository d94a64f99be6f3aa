"""Mutants: which of an implementation's operations does which guarantee hang on?

    site ── operator ──> mutant ── in_function, in_scenario: where the site is reached ──> killed by a clause, or survives

An operation is changed between the implementation and the machine, without touching its code.
"""
