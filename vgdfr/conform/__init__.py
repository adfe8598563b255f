"""Tests whether a method or an accelerator keeps the promises that the benchmark relies on, for authors of one."""

SMALL = {"height": 64, "width": 64, "num_frames": 33, "num_inference_steps": 6}
"""The default size, length and steps of a trial's video."""
