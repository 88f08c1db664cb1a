"""Pictures to packets, one encoder per rung."""
