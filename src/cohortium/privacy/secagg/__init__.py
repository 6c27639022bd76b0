"""Secure aggregation by masks: every site's vector is hidden, their sum is exact, any site can recompute it."""
