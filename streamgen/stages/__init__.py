"""What can be done with a picture."""
