"""One plain folder out of whatever a training left, compared before it is done."""
