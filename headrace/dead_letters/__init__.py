"""`headrace dead-letters`: what could not be used, why, and back onto the log once it is cured."""
