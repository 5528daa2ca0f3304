"""Area and clock: every unit alone, and the whole chip through lint and synthesis."""
