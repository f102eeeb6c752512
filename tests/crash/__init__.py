"""The crash suite: every process killed, frozen or cut off at every moment, and what is stored held against what was promised."""
