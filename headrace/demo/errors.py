"""Why a demo fails."""


class DemoError(Exception):
    """Something went otherwise than promised; the text says what."""
