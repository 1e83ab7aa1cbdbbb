"""Rows of a data set: hub, files, folders, object stores."""
