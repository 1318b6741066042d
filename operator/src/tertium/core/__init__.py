"""Decisions: pure functions of a frozen snapshot and `now`. No I/O, no clock, no randomness."""
