"""Views: answers around an answer, with other rows than those that are stored. Nothing that they make is stored."""
