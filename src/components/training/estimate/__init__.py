"""What a run will hold, compute, send, last and cost, told from its config before anything is paid for. Knows no Lightning."""
