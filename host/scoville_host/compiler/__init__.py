"""From a model and a configuration to the memory image that the chip runs."""
