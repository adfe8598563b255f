"""Models that VGDFR runs on; one file each, behind the interface in `base`."""
