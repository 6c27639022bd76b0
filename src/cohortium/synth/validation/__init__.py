"""Judging a synthetic table: every score between a floor and a ceiling, every report with controls that must fail."""
