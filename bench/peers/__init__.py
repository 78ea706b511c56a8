"""Local memories that agents use today, each behind one small protocol, for comparison.

One file a peer. `compare` fills, opens and queries them, each in processes of its own.
"""
