"""How good data is: what can be wrong with it, what is found in it, and what that makes of it. Pure."""
