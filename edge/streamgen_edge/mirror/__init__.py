"""Any edge serves any stream: what viewers here want of a stream comes from its home, the edge
where its publisher is, once, however many they are, and only while there are any."""
