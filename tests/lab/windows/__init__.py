"""Windows machines without Windows: the real Windows Python and TensorFlow, run by Wine.

Only the operating system is stood in for, the NVIDIA driver and CUDA's DLLs are simulated as in the
Linux lab. What Wine lacks besides is named where it is made up for.
"""
