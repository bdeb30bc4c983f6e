"""What a run is asked for: its schema, and scbp.toml and flags as such a configuration."""

from scbp_host.config.reading import config_of_flags, load_config
from scbp_host.config.schema import (
    DEFAULT_ACCURACY_DROP,
    DEFAULT_ROUNDS,
    Accuracy,
    Augment,
    BinningMethod,
    Importance,
    RunConfig,
    SearchStrategy,
)

__all__ = [
    "DEFAULT_ACCURACY_DROP",
    "DEFAULT_ROUNDS",
    "Accuracy",
    "Augment",
    "BinningMethod",
    "Importance",
    "RunConfig",
    "SearchStrategy",
    "config_of_flags",
    "load_config",
]
