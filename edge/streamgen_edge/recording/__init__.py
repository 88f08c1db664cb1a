"""Recording: live streams as fragmented MP4 on a disk that may be slow, full or gone.

A recording takes the fragments that HLS players get; it makes none of its own.
"""
