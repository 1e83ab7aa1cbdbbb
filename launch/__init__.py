"""Thin commands over `trainer`: each parses its arguments, calls one function and turns errors into exit codes."""
