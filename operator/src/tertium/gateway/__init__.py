"""The request path's cold half: holds, wakes, tells Envoy where the models are."""
