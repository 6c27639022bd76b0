"""How the updates of a round become one merge, one strategy per file."""
