"""Where work goes: resource vectors, and the scheduler that packs them onto nodes."""
