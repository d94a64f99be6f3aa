"""Mutants: which of an implementation's operations does which guarantee hang on?

    site ── operator ──> mutant ── explored in the scenarios that reach the site ──> killed by a clause, or survives

An operation is changed between the implementation and the machine, without touching its code.
"""
