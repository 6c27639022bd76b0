"""How frames get from one node to another."""
