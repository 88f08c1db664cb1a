"""How much one viewer's way carries, from what comes back over it, and which rung that allows.

No clock of its own and no I/O: times are given, and decisions are given back.
"""
