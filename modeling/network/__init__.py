"""The network itself: all that travels in a checkpoint's folder, importing torch and transformers alone."""
