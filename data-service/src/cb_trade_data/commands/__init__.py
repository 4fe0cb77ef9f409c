"""What the service adds to the `cb-trade` command: one file for each word.

`cb-trade --help` loads every one of them: whatever is heavier than Typer is imported where it is needed.
"""
