"""Whole consortia of real processes on one machine, with faults on demand."""
