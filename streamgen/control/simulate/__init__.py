"""A cluster on a virtual clock around the real coordinator: what it would do, before it has to."""
