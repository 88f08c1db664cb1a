"""Built-in stages, found by their entry-point names like everybody's."""
