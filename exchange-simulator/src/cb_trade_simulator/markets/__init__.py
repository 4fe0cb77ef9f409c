"""Synthetic markets: what was traded, when and at what price. Nothing in here knows any exchange's wire format."""
