"""From a corpus as it was published to sharded Parquet and a manifest. Imports neither torch nor anything of
training."""
