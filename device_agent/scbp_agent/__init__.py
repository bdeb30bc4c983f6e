"""scbp's agent: runs on the board with the board's own Python (3.6 on), standard library only in its core."""

__version__ = "0.1.0"
