"""Who may publish, play and administer: by keys, and by tokens of other services."""
