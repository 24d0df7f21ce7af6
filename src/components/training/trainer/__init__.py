"""What runs the loop: Lightning's Trainer with the arguments that a run may choose."""
