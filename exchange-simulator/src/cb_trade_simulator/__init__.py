"""A local exchange that speaks real exchanges' wire formats."""
