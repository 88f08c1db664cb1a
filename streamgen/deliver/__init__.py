"""Where packets leave."""
