"""Studies: a recipe compared with variants of it by whole runs, at matched budgets, and what came of it."""
