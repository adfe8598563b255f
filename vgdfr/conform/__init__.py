"""Whether a method or an accelerator keeps the promises that the benchmark relies on; for authors of one."""
