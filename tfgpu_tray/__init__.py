"""Watches and repairs TensorFlow's GPU support in conda and venv environments."""

__version__ = "0.1.0"
