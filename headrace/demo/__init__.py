"""The demo: a fleet of three vendors' clients, retries and mistakes included, and the proof that each message counts once."""
