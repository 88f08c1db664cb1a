"""Stages in processes of their own: pictures cross by reference, and a crash costs one result."""
