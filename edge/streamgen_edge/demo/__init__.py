"""`streamgen demo`: the live path shown from both ends, by clients of the server's public doors."""
