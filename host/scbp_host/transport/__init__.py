"""The way to a device: put a file there, and talk to a process there. One file and one table line for each way."""
