"""The words and seams every other package shares."""
