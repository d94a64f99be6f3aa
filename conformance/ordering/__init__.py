"""Orders of events as constraints: memory models, directed schedules, the worth of a fence. See docs/ordering.md.

litmus -> program -> solve          text, paths of its threads, z3; axioms and buffers are the other ways
names -> directed, order            what a user writes, a machine that watches, z3's proposals
causality -> predict                one run as events, others that it allows
weaken -> fences                    a site taken away, judged by store buffers
routines -> axiomatic               routines as events, judged by axioms
"""
