"""Differential privacy for patients: what is clipped, which noise is added, and what it adds up to."""
