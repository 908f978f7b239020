"""Simulated machines on which the real TensorFlow believes it sees a GPU."""
