"""What others do for the same end, written straightforwardly, to be measured beside this project in one run."""
