"""Memory models as axioms, and litmus tests decided under them. See docs/ordering.md.

parse -> thread -> program -> solve     text, paths of its threads, candidate executions, z3
axioms, buffers                         the other ways to the same outcomes: plain relations, the engine's store buffers
"""
