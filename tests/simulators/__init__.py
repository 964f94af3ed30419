"""The simulated vendors: their world, their manners, their faults."""
