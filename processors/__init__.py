"""Raw topics in, clean readings out."""
