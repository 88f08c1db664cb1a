"""The endpoints of the world: WHIP, WHEP, RTMP and HLS. Comes with the live server."""
