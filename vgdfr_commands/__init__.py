"""How each command of this project starts, prints and ends; the lowest layer, of Python's own library alone."""
