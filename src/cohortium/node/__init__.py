"""One hospital's node as a process: its home, its keys, its consent, its runs."""
