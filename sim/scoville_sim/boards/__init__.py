"""Boards: in simulation, as bitstreams, and what a routed design tells."""
