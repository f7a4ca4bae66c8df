"""Floor 2: U2PL itself, in pure torch. One file per idea of the paper."""
