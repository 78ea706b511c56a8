"""The vault: unlocks a block store and ties log, views and keys together."""
