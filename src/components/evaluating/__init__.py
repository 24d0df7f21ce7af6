"""A trained model measured on a split and by evaluations. Knows no Lightning."""
