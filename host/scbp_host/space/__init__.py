"""The space of candidates: seeds, superblocks, width ratios, and deriving a module from a candidate."""
