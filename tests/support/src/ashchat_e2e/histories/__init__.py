"""Histories of rooms, recorded by clients through faults and checked, in the manner of Jepsen."""
