"""What is learned from a cohort, one learner per file."""
