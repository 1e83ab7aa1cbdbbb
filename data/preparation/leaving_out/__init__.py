"""Rows that are taken out of shards again: ids that come twice, and scored clips beyond the limits."""
