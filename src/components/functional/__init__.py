"""How parts compute: each fast form beside its naive reference. Floor 1: imports no kind."""
