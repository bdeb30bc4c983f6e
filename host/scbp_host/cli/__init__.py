"""The command line: one module for each verb, the only place for typer and rich."""
