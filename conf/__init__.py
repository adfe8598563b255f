"""Hydra's configuration tree, shipped as package data."""
