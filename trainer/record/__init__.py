"""What a run leaves on the disk, and how that survives kills, full disks and lost power."""
