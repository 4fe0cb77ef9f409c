"""The exchanges we know."""
