"""How your own code joins a run: loop, callback, estimator."""
