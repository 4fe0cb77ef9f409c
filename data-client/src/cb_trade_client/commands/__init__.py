"""The subcommands of `cb-trade` that need nothing but this package."""
