"""The places where objects can live."""
