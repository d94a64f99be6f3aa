"""What rests on constraints over the order of events: directed schedules, the worth of a fence. See docs/ordering.md.

names -> directed -> order          what a user writes, a machine that watches, z3's proposals
weaken, missing -> fences           a site taken away, or a fence put in, judged by store buffers
routines -> axiomatic               routines as events, judged by axioms
"""
