"""The way to VBench's own scorer and back: lays out videos for it, and reads its result files.

VBench (Huang et al. 2024) is github.com/Vchitect/VBench; facts here are of its version 0.1.5. No code of it is needed.
"""
