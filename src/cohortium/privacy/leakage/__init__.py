"""Attacks on our own models, as functions of scores and arrays: what an attacker could learn, with its interval."""
