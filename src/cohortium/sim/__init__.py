"""Many nodes in one process, with a virtual clock and injected faults."""
