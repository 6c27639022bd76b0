"""What synthetic patients are used for, each use measured on real patients and plain about where it gains nothing."""
