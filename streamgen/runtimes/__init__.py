"""Running networks: two runtimes behind one protocol, the measured choice, other people's files."""
