"""The record all members check: rules, contract, engines and offline verification."""
