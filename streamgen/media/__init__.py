"""The nouns that cross every border: packets, frames, sheets, and what carries them."""
