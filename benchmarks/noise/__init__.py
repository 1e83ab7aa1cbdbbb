"""Does the second attention help in noise? Arms trained and measured one by one, and what follows from them."""
