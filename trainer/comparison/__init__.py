"""Runs set beside each other: read from their folders, judged by paired tests, shown as a page and as Markdown."""
