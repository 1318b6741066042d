"""The pinned vLLM as the judge of the planner's arithmetic, on a machine without a GPU.

`python -m e2e.oracle record` asks it about the models of a fixture and stores its answers; `check` compares
the planner with what is stored and prints every disagreement.
"""
