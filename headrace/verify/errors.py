"""Why nothing can be said."""


class Unjudged(Exception):
    """The three places cannot be held side by side; a sentence for the operator."""
