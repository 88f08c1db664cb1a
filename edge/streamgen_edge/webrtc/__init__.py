"""WHIP and WHEP: publishing and playing by WebRTC over plain HTTP (RFC 9725, WHEP draft 02)."""
