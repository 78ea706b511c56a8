"""Builds the model that ships inside the wheel. Nothing here is imported at run time."""
