"""Tests of the block stores; `conformance`, `faults` and `memory` are for reuse."""
