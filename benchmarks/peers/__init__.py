"""The usual ways of doing what this project does, to be measured beside it."""
