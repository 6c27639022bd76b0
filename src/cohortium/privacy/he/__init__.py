"""Sums that open only when every site takes part: threshold encryption of small updates, as an optional extra."""
