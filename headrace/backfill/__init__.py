"""`headrace replay`: a range of the raw log once more into ClickHouse, beside the live pipeline."""
