"""Jobs of a cluster: files in pieces that anybody with time makes, each output once and whole."""
