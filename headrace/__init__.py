"""The command line, and what only it needs: the local stack, the fleet simulator, operator commands."""
