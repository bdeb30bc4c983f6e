"""scbp on the workstation: derives, measures, trains and ranks smaller CNNs for one board."""

__version__ = "0.1.0"
