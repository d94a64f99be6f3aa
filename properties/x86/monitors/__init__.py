"""The monitors: what the manuals and KVM promise, restated over observed state."""
