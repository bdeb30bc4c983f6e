"""What the device's measurements teach about structures it has not measured."""
