"""Starting a cluster's workers: as children on this machine, or where other programs place them."""
