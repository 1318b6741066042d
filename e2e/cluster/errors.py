"""The one error of the cluster tool: a sentence for the user, never a traceback."""


class ClusterError(Exception):
    """Something the user has to know: what was found, what was expected and what to do."""
