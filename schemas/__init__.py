"""The contract: what travels on the log, under which topic, in which bytes."""
