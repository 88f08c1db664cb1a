"""Who carries which stream, decided: events go in, commands come out, and nothing else happens."""
