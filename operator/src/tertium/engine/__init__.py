"""vLLM over HTTP and its log."""
