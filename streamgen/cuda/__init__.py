"""Kernels for NVIDIA GPUs: pictures to networks' planes and to rungs, sources beside their modules.

`planes` and `rungs` say what a kernel is told (no CUDA is needed for that), `program` compiles
them.
"""
