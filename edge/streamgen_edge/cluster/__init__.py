"""An edge as one of many: the coordinators say which worker carries which of its streams."""
