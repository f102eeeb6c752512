"""Producers that speak CoAP."""
