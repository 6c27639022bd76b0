"""What keeps one site's contribution from the others: sums that open only as sums."""
