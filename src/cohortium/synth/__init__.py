"""Synthetic patients: generators learned without pooling rows, and the validation that every table must pass."""
