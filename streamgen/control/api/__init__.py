"""The coordinator's HTTP: what there is, and emptying a node."""
