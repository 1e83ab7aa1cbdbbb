"""The audio that is kept of a clip, or why none is: of its first recording and of its second."""
