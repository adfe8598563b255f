"""Models that methods run on, behind the interface in `base`, and the parts that they are built from."""
