"""What we hold and what we know about it: rows and coverage, committed together."""
