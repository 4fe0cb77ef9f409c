"""How good a series is: what the service knows of it, its scores, and the same for people, as text and as a page."""
