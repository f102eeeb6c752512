"""Producers that speak HTTP."""
