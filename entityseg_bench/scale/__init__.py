"""Beyond one machine: shards, engines that run them, and states that merge to the same result."""
