"""Second recordings of a corpus: how a user says where they are, and rows that have them."""
