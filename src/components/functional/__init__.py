"""How parts compute: each fast form stands beside its naive reference. Imports no kind."""
