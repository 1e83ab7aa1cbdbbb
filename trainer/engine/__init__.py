"""What runs the model: Accelerate, DeepSpeed, optimizers, devices, signals."""
