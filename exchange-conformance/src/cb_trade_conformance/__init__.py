"""The conformance card: every known trap of exchanges, tried on one plugin in front of its simulated exchange."""
