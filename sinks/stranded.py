"""Why a sink must not go on."""


class Stranded(RuntimeError):
    """Going on would lose or repeat readings; a sentence for the operator."""
