"""Tests of the DAG: nodes, records, walks."""
