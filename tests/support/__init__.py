"""What several tests share: corpora, checkpoints and servers made on the spot, and the processes that tests start."""
