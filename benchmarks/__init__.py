"""Memory and speed: measured and predicted; committed evidence in results/."""
