"""Hospitals learn together without pooling patient data: swarm rounds on a ledger all can check."""

__version__ = "0.1.0"
