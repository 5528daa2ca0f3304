"""From instructions to commands of the units and tasks of the array: an issuer a kind of instruction."""
