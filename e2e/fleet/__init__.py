"""Tertium without nodes: a real control plane, kwok's fake nodes, and the operator as a process."""
