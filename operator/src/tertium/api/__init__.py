"""The contract: what users write and read. Pydantic and the standard library only."""
