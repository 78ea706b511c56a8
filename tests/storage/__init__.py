"""Tests of the block stores; `conformance` and `faults` are for reuse."""
