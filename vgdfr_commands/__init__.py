"""How each command starts, prints and ends, and imports what users name. The lowest layer: needs Python alone."""
