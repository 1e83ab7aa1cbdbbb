"""Measuring what a checkpoint writes for long recordings whose words and times are known."""
