"""Pure rules of energy data: no clock, no I/O, standard library only."""
