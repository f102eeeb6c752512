"""Device bytes in, raw topics out."""
