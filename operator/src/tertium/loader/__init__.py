"""The model's files: what they say about its size, read without loading a weight."""
