"""What happened in a run, measured and made into one page."""
