"""Tests of the vault: durability, integrity, erasure, secrecy, and processes side by side."""
