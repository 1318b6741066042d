"""The loop: store, queue, observe, execute, controller. No kopf."""
