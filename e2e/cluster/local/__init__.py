"""A real cluster from plain processes of this machine: no container engine, no registry."""
