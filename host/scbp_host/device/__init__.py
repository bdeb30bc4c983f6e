"""The agent on the device: installing it, and asking it."""
