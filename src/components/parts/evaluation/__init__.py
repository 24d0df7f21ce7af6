"""What a trained model can do, on held-out data: ``measure(model, held) -> {name: Figure}``; ``measuring.py`` says what may be asked."""
