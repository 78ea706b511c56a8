"""Vaults of released format versions, which every later version opens."""
