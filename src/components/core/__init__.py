"""The ground floor: registry, signatures, sockets, weights; what every other room stands on, and what stands on none."""
